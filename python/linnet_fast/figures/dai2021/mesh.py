"""A mesh of the sphere with the symmetry of the cube, and how surfaces over it are drawn."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files
from linnet_fast._base.validate import FloatArray

Triangles = npt.NDArray[np.int64]


def cube_mesh(n: int) -> tuple[FloatArray, Triangles]:
    """Return unit vectors and triangles, 48 n^2 of them.

    The planes x_i = 0 and x_i = +-x_j run along edges, so that ridges of most norms do too.

    Parameters
    ----------
    n : int
        Into how many parts an edge of the 48 first triangles is cut.
    """
    steps = [(i, j) for i in range(n + 1) for j in range(n + 1 - i)]
    place = {pair: k for k, pair in enumerate(steps)}
    inner = [(place[i, j], place[i + 1, j], place[i, j + 1]) for i, j in steps if i + j < n] + [
        (place[i + 1, j], place[i + 1, j + 1], place[i, j + 1]) for i, j in steps if i + j < n - 1
    ]
    share = np.array(steps) / n
    points, triangles = [], []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            corners = np.zeros((3, 3))
            for k in range(3):
                corners[k, list(order[: k + 1])] = 1 / np.sqrt(k + 1)
            corners *= signs
            own = corners[0] + share @ (corners[1:] - corners[0])
            points.append(own)
            triangles.append(np.array(inner) + len(points[0]) * (len(points) - 1))
    everything = np.concatenate(points)
    everything /= np.linalg.norm(everything, axis=1, keepdims=True)
    _, first, number = np.unique(
        everything.round(9) + 0.0, axis=0, return_index=True, return_inverse=True
    )
    return everything[first], number.reshape(-1)[np.concatenate(triangles)]


def along_diagonal() -> FloatArray:
    """Return an orthogonal matrix whose last row is the direction of (1, 1, 1)."""
    return np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0], [1.0, 1.0, 1.0]]) / np.sqrt(
        [[2.0], [6.0], [3.0]]
    )


def _eye(view: tuple[float, float]) -> FloatArray:
    up, round_ = np.deg2rad(view)
    return np.array([np.cos(up) * np.cos(round_), np.cos(up) * np.sin(round_), np.sin(up)])


def _normals(points: FloatArray, triangles: Triangles) -> FloatArray:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    # Outward: surfaces here can be seen from the origin.
    normal *= np.sign(np.sum(normal * (a + b + c), axis=-1, keepdims=True))
    size = np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.asarray(normal / np.maximum(size, 1e-300))


def turned_away(
    points: FloatArray, triangles: Triangles, view: tuple[float, float]
) -> npt.NDArray[np.bool_]:
    """Return which triangles show their back to the viewer, who is far away."""
    return np.asarray(_normals(points, triangles) @ _eye(view) < -0.05)


def draw_ball(
    ax: Any, points: FloatArray, triangles: Triangles, color: Any, view: tuple[float, float]
) -> None:
    """Draw a surface with shading, and the positive half axes outside it."""
    art3d = files.optional("mpl_toolkits.mplot3d.art3d", "plot")
    light = _eye((view[0] + 30, view[1] - 40))
    shade = 0.45 + 0.55 * np.clip(_normals(points, triangles) @ light, 0, 1)
    # Towards white where the light falls: dark colours have no other room.
    rgb = np.asarray(color)[:3]
    faces = np.clip(shade[:, None] * (0.45 * rgb + 0.55), 0, 1)
    ax.add_collection3d(
        art3d.Poly3DCollection(
            points[triangles], facecolors=faces, edgecolors=faces, linewidths=0.5
        )
    )
    reach = max(1.0, 0.8 * float(np.linalg.norm(points, axis=1).max()))
    for k in range(3):
        unit = np.eye(3)[k]
        own = float(
            np.linalg.norm(points[np.argmax(points @ unit / np.linalg.norm(points, axis=1))])
        )
        ends = np.outer([own, 1.4 * reach], unit).T
        in_front = _eye(view)[k] > 0
        ax.plot(*ends, color="#909090", linewidth=0.6, zorder=10 if in_front else -10)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
    ax.set_box_aspect((1, 1, 1), zoom=1.45)
    ax.view_init(*view)
    ax.set_proj_type("ortho")
    ax.set_axis_off()
