// A choice of the versions that are published beside this one, in `versions.json` above all of them:
// {"0.1.0": "0.1.0/", "latest": "latest/"}, addresses relative to that file. Without it there is no choice.
document.addEventListener("DOMContentLoaded", async () => {
  const root = new URL(document.documentElement.dataset.content_root || "./", document.baseURI);
  const list = new URL("../versions.json", root);
  const answer = await fetch(list).catch(() => null);
  if (!answer || !answer.ok) return;
  const versions = Object.entries(await answer.json());
  const brand = document.querySelector(".sidebar-brand");
  if (!brand || versions.length < 2) return;
  const choice = document.createElement("select");
  choice.className = "versions";
  choice.setAttribute("aria-label", "Version");
  for (const [name, address] of versions) {
    const there = new URL(address, list).href;
    choice.add(new Option(name, there, false, root.href.startsWith(there)));
  }
  const page = document.baseURI.slice(root.href.length);
  choice.addEventListener("change", async () => {
    // The same page, where the other version has it.
    const same = await fetch(choice.value + page, { method: "HEAD" }).catch(() => null);
    location.href = same && same.ok ? choice.value + page : choice.value;
  });
  brand.after(choice);
});
