"""The pages for those who come from PyTorch and JAX: the same training in both, where they are."""

from __future__ import annotations

import doctest
import re
import runpy

import numpy as np
import pytest
from support import ROOT


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize(("page", "library"), [("from_pytorch", "torch"), ("from_jax", "jax")])
def test_trainings_of_the_page_are_equal(page, library, tmp_path):
    pytest.importorskip(library)
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    names = {}
    blocks = re.findall(r"^```(python|pycon)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert [language for language, _ in blocks] == ["pycon", "python", "pycon"]
    for language, code in blocks:
        examples = doctest.DocTestParser().get_examples(code) if language == "pycon" else []
        source = "".join(example.source for example in examples) or code
        (tmp_path / "page.py").write_text(source, encoding="utf-8")
        names = runpy.run_path(str(tmp_path / "page.py"), init_globals=names)
    theirs, ours = np.asarray(names["theirs"]), names["ours"]
    assert theirs.shape == ours.shape
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-10 * ours[..., 0].max())
    assert np.all(ours[..., -1] < 0.2 * ours[..., 0])  # something was learned
