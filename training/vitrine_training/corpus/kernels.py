"""The compiled loops of the renderer: visibility, surface attributes, lines, dashes, pen strokes.

Numba compiles them once a machine (cache=True) and the loops use no random state, only integer
hashes, so that a drawing depends on its seed alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

# Line classes, in order of precedence, as `trace_edges` writes them.
OUTLINE, CREASE, ORNAMENT, CONTOUR = 1, 2, 3, 4

# Shading modes of `resolve`.
PLAIN, CONTOURS, STIPPLE, HATCH, TONE, STREAKS = 0, 1, 2, 3, 4, 5


# Signatures are given where calls differ in literals: each would be compiled again.
@njit("float64(int64, int64, int64)", cache=True)
def hash_unit(a: Any, b: Any, c: Any) -> Any:
    """Hash three integers to a float in [0, 1)."""
    h = np.uint32(a) * np.uint32(0x9E3779B1) ^ np.uint32(b) * np.uint32(0x85EBCA77)
    h ^= np.uint32(c) * np.uint32(0xC2B2AE3D)
    h ^= h >> np.uint32(15)
    h = np.uint32(h * np.uint32(0x2C1B3C6D))
    h ^= h >> np.uint32(12)
    h = np.uint32(h * np.uint32(0x297A2D39))
    h ^= h >> np.uint32(15)
    return h * (1.0 / 4294967296.0)


@njit("int64(float64, float64, float64, float64)", cache=True)
def cell_of(kind: Any, x: Any, y: Any, p: Any) -> Any:
    """Return the cell of a surface pattern at (x, y); lines are drawn where the cell changes.

    Cell 0 is the ground of the pattern: with a perforated patch every other cell is a hole. One
    period of the pattern is 1 in x and y; `p` in (0, 1) is its proportion (duty, radius or depth).
    """
    ix, iy = math.floor(x), math.floor(y)
    fx, fy = x - ix - 0.5, y - iy - 0.5
    if kind == 1:  # lines
        return ix + 1
    if kind == 2:  # bands
        return 1 if fx + 0.5 < p else 0
    if kind == 3:  # grid
        return (ix + 1) * 4096 + iy + 1
    if kind == 4:  # bricks
        jx = math.floor(x + 0.5 * (iy % 2))
        return (jx + 1) * 4096 + iy + 1
    if kind == 5:  # diamonds
        return (math.floor(x + y) + 1) * 4096 + math.floor(x - y) + 1
    if kind == 6:  # hexagons: the nearer of two interleaved lattices
        ax, ay = round(x), 1.7320508 * round(y / 1.7320508)
        bx, by = math.floor(x) + 0.5, 1.7320508 * (math.floor(y / 1.7320508) + 0.5)
        da = (x - ax) ** 2 + (y - ay) ** 2
        db = (x - bx) ** 2 + (y - by) ** 2
        if p < 0.5:  # separate holes with bars between them
            d = min(da, db)
            return 1 if d < 0.16 else 0
        if da < db:
            return int(ax * 2) * 4096 + round(ay * 2) + 1
        return int(bx * 2) * 4096 + round(by * 2) + 1
    if kind == 7:  # dots
        return 1 if fx * fx + fy * fy < 0.25 * p * p else 0
    if kind == 8:  # staggered dots
        sx = x + 0.5 * (iy % 2)
        gx = sx - math.floor(sx) - 0.5
        return 1 if gx * gx + fy * fy < 0.25 * p * p else 0
    if kind == 9:  # staggered slots
        sx = x * 0.5 + 0.5 * (iy % 2)
        gx = abs((sx - math.floor(sx) - 0.5) * 2.0)
        gx = max(0.0, gx - 0.5)
        return 1 if gx * gx + fy * fy < 0.16 * p * p else 0
    if kind == 10:  # waves
        return math.floor(y + p * math.sin(6.2831853 * x)) + 1
    if kind == 11:  # chevrons
        return math.floor(y + 2.0 * p * abs(fx)) + 1
    if kind == 12:  # triangles
        return ((math.floor(x) + 1) * 1024 + math.floor(y) + 1) * 1024 + math.floor(x + y) + 1
    if kind == 13:  # irregular cells: nearest of jittered lattice points
        best, cell = 9.0, 0
        for j in range(-1, 2):
            for i in range(-1, 2):
                cx = ix + i + 0.5 + p * (hash_unit(ix + i, iy + j, 1) - 0.5)
                cy = iy + j + 0.5 + p * (hash_unit(ix + i, iy + j, 2) - 0.5)
                d = (x - cx) ** 2 + (y - cy) ** 2
                if d < best:
                    best, cell = d, (ix + i + 1) * 4096 + iy + j + 1
        return cell
    if kind == 14:  # scales
        for row in range(iy + 1, iy - 2, -1):
            sx = x + 0.5 * (row % 2)
            gx = sx - math.floor(sx) - 0.5
            gy = y - row
            if gy >= 0.0 and gx * gx + gy * gy * 0.5 < 0.25 + 0.1 * p:
                return (math.floor(sx) + 1) * 4096 + row + 1
        return 0
    if kind == 15:  # rings around the origin
        return math.floor(math.sqrt(x * x + y * y)) + 1
    if kind == 16:  # rays from the origin
        return math.floor(math.atan2(y, x) * (3.0 + 20.0 * p) / 3.14159265) + 40
    if kind == 17:  # flowers
        petals = 3.0 + math.floor(p * 6.0)
        r = math.sqrt(fx * fx + fy * fy)
        a = math.atan2(fy, fx)
        if r < 0.09:
            return 2
        return 1 if r < 0.30 + 0.14 * math.cos(petals * a) else 0
    if kind == 18:  # stars
        points = 4.0 + math.floor(p * 4.0)
        a = math.atan2(fy, fx) * points / 6.2831853
        a = abs(a - math.floor(a) - 0.5) * 2.0
        return 1 if math.sqrt(fx * fx + fy * fy) < 0.18 + 0.26 * a else 0
    if kind == 19:  # squares
        return 1 if abs(fx) < 0.5 * p and abs(fy) < 0.5 * p else 0
    if kind == 20:  # basket weave
        if (ix + iy) % 2 == 0:
            return (ix + 1) * 4096 + (iy + 1) * 8 + math.floor((fx + 0.5) * 3.0)
        return (ix + 1) * 4096 + (iy + 1) * 8 + math.floor((fy + 0.5) * 3.0) + 4
    if kind == 21:  # plaid: narrow bands both ways
        return (1 if fx + 0.5 < 0.3 * p else 0) + (2 if fy + 0.5 < 0.3 * p else 0)
    if kind == 22:  # scattered spots
        cx = 0.5 * (hash_unit(ix, iy, 3) - 0.5)
        cy = 0.5 * (hash_unit(ix, iy, 4) - 0.5)
        r = (0.10 + 0.16 * hash_unit(ix, iy, 5)) * (0.6 + p)
        return 1 if (fx - cx) ** 2 + (fy - cy) ** 2 < r * r else 0
    if kind == 23:  # lines of lettering
        word = math.floor(x * 0.7 + 3.0 * hash_unit(iy, 7, 1))
        if abs(fy) > 0.22 or hash_unit(word, iy, 2) < 0.25:
            return 0
        return 1 + int(hash_unit(math.floor(x * 5.0), iy, 3) * 3.0)
    if kind == 24:  # crosses
        a, b = abs(fx), abs(fy)
        return 1 if (a < 0.13 and b < 0.4 * p + 0.1) or (b < 0.13 and a < 0.4 * p + 0.1) else 0
    if kind == 25:  # interlaced arcs
        a = math.floor(4.0 * p * math.sqrt((x - ix) ** 2 + (y - iy) ** 2) + 1.0)
        return (ix + 1) * 4096 + (iy + 1) * 16 + a
    return 0


@njit(cache=True)
def rasterise(
    screen: Any,
    weight: Any,
    triangles: Any,
    owner: Any,
    uv: Any,
    table: Any,
    tolerance: Any,
    depth: Any,
    visible: Any,
) -> None:
    """Fill `depth` (H, W) and `visible` (H, W; index of the front triangle, or -1).

    screen: (V, 3) pixel x, pixel y and projective depth (small is near). A later triangle wins
    over an earlier one within `tolerance`, so that a part laid exactly on a surface shows.
    """
    height, width = depth.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
        bx, by, bz = screen[b, 0], screen[b, 1], screen[b, 2]
        cx, cy, cz = screen[c, 0], screen[c, 1], screen[c, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        x0 = max(0, math.ceil(min(ax, bx, cx) - 0.5))
        x1 = min(width - 1, math.floor(max(ax, bx, cx) - 0.5))
        y0 = max(0, math.ceil(min(ay, by, cy) - 0.5))
        y1 = min(height - 1, math.floor(max(ay, by, cy) - 0.5))
        inv = 1.0 / area
        row = owner[t]
        kind = table[row, 0]
        perforated = table[row, 6] > 0.0
        dwa = (by - cy) * inv
        dwb = (cy - ay) * inv
        for y in range(y0, y1 + 1):
            py = y + 0.5
            # barycentric weights at the left end of the row, and the span where all are positive
            wa0 = ((bx - x0 - 0.5) * (cy - py) - (by - py) * (cx - x0 - 0.5)) * inv
            wb0 = ((cx - x0 - 0.5) * (ay - py) - (cy - py) * (ax - x0 - 0.5)) * inv
            first, last = 0.0, float(x1 - x0)
            for edge in range(3):
                w0, dw = wa0, dwa
                if edge == 1:
                    w0, dw = wb0, dwb
                elif edge == 2:
                    w0, dw = 1.0 - wa0 - wb0, -dwa - dwb
                if dw > 1e-12:
                    first = max(first, -w0 / dw - 1e-6)
                elif dw < -1e-12:
                    last = min(last, -w0 / dw + 1e-6)
                elif w0 < -1e-7:
                    last = -1.0
            for x in range(x0 + math.ceil(first), x0 + math.floor(last) + 1):
                wa = wa0 + dwa * (x - x0)
                wb = wb0 + dwb * (x - x0)
                wc = 1.0 - wa - wb
                z = wa * az + wb * bz + wc * cz
                if z > depth[y, x] + tolerance:
                    continue
                if perforated:
                    qa, qb, qc = wa * weight[a], wb * weight[b], wc * weight[c]
                    q = 1.0 / (qa + qb + qc)
                    u = (qa * uv[a, 0] + qb * uv[b, 0] + qc * uv[c, 0]) * q
                    v = (qa * uv[a, 1] + qb * uv[b, 1] + qc * uv[c, 1]) * q
                    s = (u * table[row, 3] + v * table[row, 4]) * table[row, 1]
                    r = (v * table[row, 3] - u * table[row, 4]) * table[row, 2]
                    if cell_of(kind, s + table[row, 7], r + table[row, 8], table[row, 5]) != 0:
                        continue
                depth[y, x] = min(z, depth[y, x])
                visible[y, x] = t


@njit(cache=True)
def resolve(
    screen: Any,
    weight: Any,
    triangles: Any,
    owner: Any,
    uv: Any,
    normals: Any,
    seams: Any,
    table: Any,
    visible: Any,
    light: Any,
    shaded: Any,
    mode: Any,
    spacing: Any,
    level: Any,
    contour_step: Any,
    seed: Any,
    group: Any,
    cell: Any,
    contour: Any,
    slope: Any,
    tone: Any,
    ink: Any,
) -> None:
    """Work out what each visible pixel shows: group, cell, contour index, slope, tone, ink.

    `tone` is 0 (dark) to 255 (light); `ink` is 1 where the shading mode itself puts a dot.
    spacing: pixels between shading strokes; level: 0 (little shading) to 1; contour_step: surface
    units between contour lines. Without `shaded`, tone and ink are left as they are.
    """
    height, width = visible.shape
    for y in range(height):
        for x in range(width):
            t = visible[y, x]
            if t < 0:
                group[y, x] = -1
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
            bx, by, bz = screen[b, 0], screen[b, 1], screen[b, 2]
            cx, cy, cz = screen[c, 0], screen[c, 1], screen[c, 2]
            inv = 1.0 / ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
            px, py = x + 0.5, y + 0.5
            wa = ((bx - px) * (cy - py) - (by - py) * (cx - px)) * inv
            wb = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) * inv
            wc = 1.0 - wa - wb
            dzdx = ((by - cy) * az + (cy - ay) * bz + (ay - by) * cz) * inv
            dzdy = ((cx - bx) * az + (ax - cx) * bz + (bx - ax) * cz) * inv
            slope[y, x] = max(abs(dzdx), abs(dzdy))
            row = owner[t]
            group[y, x] = int(table[row, 9])
            kind = table[row, 0]
            patterned = kind > 0.0 and table[row, 6] == 0.0
            u, v = 0.0, 0.0
            if patterned or shaded:
                qa, qb, qc = wa * weight[a], wb * weight[b], wc * weight[c]
                q = 1.0 / (qa + qb + qc)
                u = (qa * uv[a, 0] + qb * uv[b, 0] + qc * uv[c, 0]) * q
                v = (qa * uv[a, 1] + qb * uv[b, 1] + qc * uv[c, 1]) * q
            if patterned:
                s = (u * table[row, 3] + v * table[row, 4]) * table[row, 1] + table[row, 7]
                r = (v * table[row, 3] - u * table[row, 4]) * table[row, 2] + table[row, 8]
                cell[y, x] = cell_of(kind, s, r, table[row, 5])
            else:
                cell[y, x] = 0
            for i in range(seams.shape[1]):
                side = wa * seams[a, i] + wb * seams[b, i] + wc * seams[c, i]
                cell[y, x] = cell[y, x] * 2 + (1 if side > 0.0 else 0)
            contour[y, x] = -1
            if not shaded:
                continue
            nx = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
            ny = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
            nz = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
            norm = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
            if nz > 0.0:  # towards the eye: depth grows away from it
                norm = -norm
            nx, ny, nz = nx / norm, ny / norm, nz / norm
            lit = nx * light[0] + ny * light[1] + nz * light[2]
            shade = 0.30 + 0.70 * max(0.0, lit)
            if table[row, 10] > 0.0:
                shade *= 1.0 - table[row, 10]
            tone[y, x] = int(255.0 * min(1.0, shade))
            darkness = 1.0 - shade
            facing = -nz
            bent = table[row, 11]
            if mode in (CONTOURS, STREAKS):
                if bent > 0.0:
                    along, across = (u, v) if bent == 1.0 else (v, u)
                    k = math.floor(along / contour_step)
                    run = across / (contour_step * 6.0) + 3.0 * hash_unit(k, row, seed)
                    strength = level * (0.35 + 0.9 * (1.0 - facing) + 0.5 * darkness)
                    if bent == 2.0:
                        strength = level * 0.8
                    if (
                        hash_unit(k, seed, 11) < strength
                        and hash_unit(math.floor(run), k, seed) < 0.72
                        and run - math.floor(run) < 0.9
                    ):
                        contour[y, x] = k & 0xFFFF
                elif mode == STREAKS:
                    s = (px + py * 0.7) / spacing
                    k = math.floor(s)
                    band = math.floor(s / 7.0)
                    run = (py * 0.7 - px) / (spacing * 9.0) + 0.8 * hash_unit(k, 5, seed)
                    if (
                        hash_unit(band, row, seed) < 0.45 * level
                        and hash_unit(math.floor(run), band, seed) < 0.3
                        and run - math.floor(run) < 0.8
                    ):
                        contour[y, x] = k & 0xFFFF
            elif mode == STIPPLE:
                wish = level * (0.02 + 0.75 * darkness * darkness + 0.25 * (1.0 - facing) ** 3)
                if hash_unit(x >> 1, y >> 1, seed) < wish and ((x ^ y) & 1) == 0:
                    ink[y, x] = 1
            elif mode == HATCH:
                steps = math.floor(darkness * 4.0 * (0.4 + level))
                if steps > 0:
                    slant = 0.15 * (1.0 + row % 3)
                    s = (py + slant * px) / spacing * steps * 0.5
                    k = math.floor(s)
                    run = px / (spacing * 14.0) + 2.0 * hash_unit(k, row, seed)
                    if hash_unit(math.floor(run), k, seed) < 0.85:
                        contour[y, x] = k & 0xFFFF


@njit(cache=True)
def trace_edges(
    depth: Any, group: Any, cell: Any, contour: Any, slope: Any, gap: Any, lines: Any
) -> None:
    """Write the line class of each pixel into `lines` (H, W) uint8.

    A jump in depth larger than `gap` that the slopes of both surfaces do not explain is an
    outline; a change of line group a crease; of pattern cell an ornament line; of contour index a
    shading line.
    """
    height, width = depth.shape
    for y in range(height - 1):
        for x in range(width - 1):
            g0 = group[y, x]
            for step in range(2):
                y1, x1 = (y, x + 1) if step == 0 else (y + 1, x)
                g1 = group[y1, x1]
                if g0 == g1:
                    if g0 < 0:
                        continue
                    jump = depth[y1, x1] - depth[y, x]
                    if abs(jump) > gap + 1.6 * max(slope[y, x], slope[y1, x1]):
                        line, near = OUTLINE, jump >= 0.0
                    elif cell[y, x] != cell[y1, x1]:
                        line, near = ORNAMENT, True
                    elif (
                        contour[y, x] != contour[y1, x1]
                        and min(contour[y, x], contour[y1, x1]) >= 0
                    ):
                        line, near = CONTOUR, True
                    else:
                        continue
                elif g0 < 0 or g1 < 0:
                    line, near = OUTLINE, g1 < 0
                else:
                    jump = depth[y1, x1] - depth[y, x]
                    if abs(jump) > gap + 1.6 * max(slope[y, x], slope[y1, x1]):
                        line, near = OUTLINE, jump >= 0.0
                    else:
                        line, near = CREASE, True
                py, px = (y, x) if near else (y1, x1)
                if lines[py, px] == 0 or line < lines[py, px]:
                    lines[py, px] = line


@njit(cache=True)
def dash(lines: Any, chosen: Any, on: Any, off: Any, dot: Any) -> None:
    """Erase parts of the `chosen` lines, following each one so that dashes have even length.

    on, off: pixels drawn and left out; dot: length of a dot in the middle of the gap, 0 for none.
    """
    height, width = lines.shape
    seen = np.zeros((height, width), np.uint8)
    period = on + off
    for sy in range(1, height - 1):
        for sx in range(1, width - 1):
            if chosen[sy, sx] == 0 or lines[sy, sx] == 0 or seen[sy, sx] != 0:
                continue
            y, x, travelled = sy, sx, 0.0
            dy, dx = 0, 0
            while True:
                phase = travelled % period
                keep = phase < on or (dot > 0.0 and abs(phase - on - 0.5 * off) < 0.5 * dot)
                mark = 1 if keep else 2
                for j in range(max(0, y - 1), min(height, y + 2)):
                    for i in range(max(0, x - 1), min(width, x + 2)):
                        if seen[j, i] == 0 and lines[j, i] != 0:
                            seen[j, i] = mark
                best, by, bx = -9.0, -1, -1
                for j in range(max(0, y - 2), min(height, y + 3)):
                    for i in range(max(0, x - 2), min(width, x + 3)):
                        if chosen[j, i] != 0 and lines[j, i] != 0 and seen[j, i] == 0:
                            score = (j - y) * dy + (i - x) * dx - 0.5 * (abs(j - y) + abs(i - x))
                            if score > best:
                                best, by, bx = score, j, i
                if by < 0:
                    break
                dy, dx = by - y, bx - x
                travelled += math.sqrt(dy * dy + dx * dx)
                y, x = by, bx
    for y in range(height):
        for x in range(width):
            if seen[y, x] == 2 and chosen[y, x] != 0:
                lines[y, x] = 0


@njit(cache=True)
def stroke(lines: Any, widths: Any, paper: Any) -> None:
    """Draw each line pixel onto `paper` (H, W) uint8 with a round pen of its class's width."""
    height, width = lines.shape
    for y in range(height):
        for x in range(width):
            line = lines[y, x]
            if line == 0:
                continue
            w = widths[line]
            reach = int(w * 0.5)
            for j in range(max(0, y - reach), min(height, y + reach + 1)):
                for i in range(max(0, x - reach), min(width, x + reach + 1)):
                    far = math.sqrt((j - y) * (j - y) + (i - x) * (i - x)) - 0.5 * w
                    cover = min(1.0, max(0.0, 0.5 - far))
                    value = int(255.0 * (1.0 - cover))
                    paper[j, i] = min(paper[j, i], value)


@njit(cache=True)
def clip_ears(points: Any) -> Any:
    """Triangulate a simple counter-clockwise polygon (N, 2) by ear clipping: (N - 2, 3) indices."""
    n = points.shape[0]
    after = np.empty(n, np.int64)
    before = np.empty(n, np.int64)
    for i in range(n):
        after[i] = (i + 1) % n
        before[i] = (i - 1) % n
    out = np.zeros((n - 2, 3), np.int32)
    i, left, count, tried = 0, n, 0, 0
    while left > 3:
        p, q = before[i], after[i]
        ax, ay = points[p, 0], points[p, 1]
        bx, by = points[i, 0], points[i, 1]
        cx, cy = points[q, 0], points[q, 1]
        ear = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) > 0.0
        if ear:
            k = after[q]
            while k != p:
                x, y = points[k, 0], points[k, 1]
                k = after[k]
                if (x == ax and y == ay) or (x == bx and y == by) or (x == cx and y == cy):
                    continue  # a bridge to a hole visits its ends twice
                if (
                    (bx - ax) * (y - ay) - (by - ay) * (x - ax) >= 0.0
                    and (cx - bx) * (y - by) - (cy - by) * (x - bx) >= 0.0
                    and (ax - cx) * (y - cy) - (ay - cy) * (x - cx) >= 0.0
                ):
                    ear = False
                    break
        if ear or tried > left:  # a degenerate rest is cut off all the same
            out[count, 0], out[count, 1], out[count, 2] = p, i, q
            count += 1
            after[p], before[q] = q, p
            left -= 1
            tried = 0
            i = q
        else:
            tried += 1
            i = q
    out[count, 0], out[count, 1], out[count, 2] = before[i], i, after[i]
    return out
