"""Small ICC profiles for what files say about colour without a profile.

A matrix and three equal curves (ICC.1, version 2.4); code points of ITU-T H.273, which
PNG's cICP and AVIF's nclx use.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Primaries = tuple[float, ...]
"""x and y of white, red, green and blue."""
_D65 = (0.3127, 0.3290)
SRGB: Primaries = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE_RGB: Primaries = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
PRIMARIES: dict[int, Primaries] = {
    1: SRGB,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, *_P3),
    12: (*_D65, *_P3),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
"""H.273, table 2."""
ADOBE_GAMMA = 563 / 256
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_CURVE_POINTS = 1024
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_UNSPECIFIED = 2


def linear_of(transfer: int) -> Floats | float | None:
    """A transfer function as a gamma, or as linear light at equal steps of the signal.

    sRGB's stands for BT.709's, too: it is how pictures of the latter are shown. None for those that
    are not known here, and those of high dynamic range.
    """
    signal = np.linspace(0, 1, _CURVE_POINTS)
    if transfer in (1, 6, 13, 14, 15, _UNSPECIFIED):
        return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    if transfer == 7:  # SMPTE 240M
        return np.where(signal < 0.0913, signal / 4, ((signal + 0.1115) / 1.1115) ** (1 / 0.45))
    return {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}.get(transfer)


def profile_of_code_points(primaries: int, transfer: int) -> bytes | None:
    """The profile that code points of H.273 stand for; None for unknown ones."""
    places, curve = (
        PRIMARIES.get(1 if primaries == _UNSPECIFIED else primaries),
        linear_of(transfer),
    )
    if places is None or curve is None:
        return None
    return matrix_profile(f"CICP {primaries}/{transfer}", places, curve)


def matrix_profile(name: str, primaries: Primaries, curve: Floats | float) -> bytes | None:
    """An RGB profile. `curve` is as of `linear_of`. None for primaries that make no space."""
    columns = _to_d50(primaries)
    if columns is None:
        return None
    tags = {
        b"desc": _description(name),
        b"cprt": b"text\0\0\0\0No copyright\0",
        b"wtpt": _xyz(_D50),
        **{key: _xyz(columns[:, index]) for index, key in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(curve)),
    }
    return _profile(b"RGB ", tags)


def grey_profile(name: str, curve: Floats | float) -> bytes:
    """A grey profile."""
    tags = {
        b"desc": _description(name),
        b"cprt": b"text\0\0\0\0No copyright\0",
        b"wtpt": _xyz(_D50),
        b"kTRC": _curve(curve),
    }
    return _profile(b"GRAY", tags)


def _to_d50(primaries: Primaries) -> Floats | None:
    """RGB → XYZ under D50, by Bradford's adaptation."""
    places = np.array(primaries, float).reshape(4, 2)
    if (places[:, 1] <= 0).any():
        return None
    white, *colours = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in places)
    matrix = np.stack(colours, axis=1)
    if abs(np.linalg.det(matrix)) < 1e-6:
        return None
    matrix = matrix * np.linalg.solve(matrix, white)
    gain = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: Floats = np.linalg.inv(_BRADFORD) @ np.diag(gain) @ _BRADFORD @ matrix
    return adapted


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    start = 128 + 4 + 12 * len(tags)
    table, body, places = b"", b"", dict[bytes, int]()
    for name, data in tags.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + b"\0" * (-len(data) % 4)
        table += struct.pack(">4sII", name, places[data], len(data))
    head = struct.pack(">I4x", start + len(body)) + b"\2\x40\0\0mntr" + space + b"XYZ "
    head += struct.pack(">6H", 2025, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(_D50)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz(values: Floats) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def _curve(curve: Floats | float) -> bytes:
    if isinstance(curve, float):
        if curve == 1:
            return b"curv" + bytes(8)
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, min(65535, round(curve * 256)))
    points = np.rint(curve * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(points)) + points.tobytes()


def _description(name: str) -> bytes:
    text = name.encode("ascii", "replace") + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)


_SRGB = _to_d50(SRGB)
SRGB_COLUMNS = () if _SRGB is None else tuple(_xyz(_SRGB[:, index]) for index in range(3))
"""As they stand in a profile that is made here."""
