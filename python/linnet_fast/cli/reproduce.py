"""The command ``linnet-fast reproduce``: the experiments of a paper, with a verdict per claim."""

from __future__ import annotations

import argparse
from pathlib import Path

from linnet_fast.cli import outputs
from linnet_fast.cli.arguments import Commands, add_force, count, new_command
from linnet_fast.cli.outputs import BadInput, Failed
from linnet_fast.figures import PAPERS, Settings, reproduce
from linnet_fast.figures.report import files_of

_DESCRIPTION = """\
Repeat the experiments of a paper. Writes a picture and its data for each, and report.md with every
claim: what is expected, what was measured, and whether it holds.

papers:
  gidel2019    Gidel, Bach, Lacoste-Julien, "Implicit regularization of discrete gradient dynamics in
               linear neural networks", NeurIPS 2019: ranks learned one by one
  dai2021      Dai, Karzand, Srebro, "Representation costs of linear neural networks: analysis and
               design", NeurIPS 2021: what weight decay on the weights is to the predictor
  lin2021      Lin, Sun, Zhang, "Faster directional convergence of linear neural networks under
               spherically symmetric data", NeurIPS 2021: how fast the direction is learned
  arora2019    Arora, Cohen, Hu, Luo, "Implicit regularization in deep matrix factorization", NeurIPS
               2019: matrices completed by one to four layers, beside the least nuclear norm
  soudry2018   Soudry, Hoffer, Nacson, Gunasekar, Srebro, "The implicit bias of gradient descent on
               separable data", JMLR 2018: the slow way to the largest margin, of two and more classes
  cohen2021    Cohen, Kaur, Li, Kolter, Talwalkar, "Gradient descent on neural networks typically occurs
               at the edge of stability", ICLR 2021: sharpness rises to 2 / step size and hovers there
  domine2024   Domine, Anguita, Proca, Braun, Kunin, Mediano, Saxe, "From lazy to rich: exact learning
               dynamics in deep linear networks", 2024: tangent kernels over lambda-balanced starts
  haochen2021  HaoChen, Wei, Lee, Ma, "Shape matters: understanding the implicit bias of the noise
               covariance", COLT 2021: label noise finds sparse vectors from large starts
  muon         Fan, Schmidt, Thrampoulidis, "Implicit bias of spectral descent and Muon on multiclass
               separable data", NeurIPS 2025: each norm's steepest steps come to its largest margin
  pesme2021    Pesme, Pillaud-Vivien, Flammarion, "Implicit bias of SGD for diagonal linear networks: a
               provable benefit of stochasticity", NeurIPS 2021: noise of batches leads to sparser vectors
  woodworth2020  Woodworth, Gunasekar, Lee, Moroshko, Savarese, Golan, Soudry, Srebro, "Kernel and rich
               regimes in overparametrized models", COLT 2020: scale and depth in sparse regression
  double_descent  Advani, Saxe, Sompolinsky, "High-dimensional dynamics of generalization error in neural
               networks", 2020; Hastie, Montanari, Rosset, Tibshirani, "Surprises in high-dimensional
               ridgeless least squares interpolation", 2022: test error over samples, and stopping early
  saxe2014     Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
               linear neural networks", ICLR 2014: learning curves over depth and spectrum of the data

exit codes: 0 all claims hold, 1 some fail or a file cannot be written, 2 bad usage or data, 130
interrupted by Ctrl-C"""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = new_command(
        commands,
        "reproduce",
        run,
        "repeat a paper's experiments: pictures, data, a verdict per claim",
        _DESCRIPTION,
    )
    parser.add_argument("paper", choices=tuple(PAPERS), help="which paper")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, within a minute")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write (default: linnet_fast_PAPER)"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these experiments only")
    parser.add_argument("--mnist", type=Path, metavar="DIR", help="folder with MNIST's IDX files")
    parser.add_argument(
        "--cifar10", type=Path, metavar="DIR", help="folder with CIFAR-10's binary files"
    )
    add_force(parser)
    parser.add_argument("--threads", type=count, metavar="N", help="threads (default: all)")


def run(options: argparse.Namespace) -> int:
    """Repeat the experiments; return an exit code that says whether all claims hold."""
    out = options.out or Path(f"linnet_fast_{options.paper}")
    settings = Settings(options.quick, options.threads, options.mnist, options.cifar10)
    outputs.draw_without_a_window()
    tell = outputs.teller(quiet=False)
    try:
        for file in files_of(options.paper, out, options.only):
            outputs.check_free(file, force=options.force)
        claims = reproduce(options.paper, out, settings, only=options.only, tell=tell)
    except ValueError as error:
        raise BadInput(str(error)) from error
    except OSError as error:
        raise Failed(str(error)) from error
    failed = sum(not claim.holds for claim in claims)
    tell(f"{len(claims) - failed} of {len(claims)} claims hold; wrote {out / 'report.md'}")
    return outputs.FAILED if failed else outputs.OK
