"""DesignViT: the compact image encoder that ships with Vitrine.

A stem turns the image into a grid of tokens, transformer blocks let them look at each other, and
the readout keeps the layout: beside the mean of all tokens it gives the head a 4×4 grid of local
means. The "energy" stem starts from fixed oriented gradients, which also reach the head as
histograms over three grids, so that even a short training starts from what HOG knows. `Marks` adds
statistics that do not depend on where a mark lies: a part is found in another view, and a drawing
by the pen that drew it. Every operation exports to ONNX as a plain convolution, average, matrix
product or elementwise function.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from vitrine_server.manifest import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
FAMILY = "design-vit"
ORIENTATIONS = 8
MARKED_SIZES = (1, 2, 4)  # full, half and quarter size
CELL_DIM = 32  # principal components that are kept of 3×3 cells of energies
SHARPNESS = 30.0  # of the assignment to patterns: 4 over a cell's mean square distance to its own


@dataclass(frozen=True)
class DesignViTConfig:
    """Shape of a DesignViT.

    stem: "patch" is ViT's one linear patch projection; "conv" is a small residual network down to
    the same stride of 16, whose three stages (strides 4, 8, 16) have `conv_channels` channels and
    `conv_blocks` residual blocks each; "energy" replaces its first stage by oriented gradients.
    shrink: the graph first averages shrink×shrink pixels, so a model that was trained on 112 pixels
    serves the same 224-pixel tensor at a quarter of the cost. grid: the readout averages tokens
    over grid×grid cells, each projected to `grid_dim`. energy_grids: grids of the histograms of
    gradients that go to the head. marks: number of small patterns in `Marks`;
    0 leaves them out. mean, std: per RGB channel, for pixels in 0..1; white paper becomes zero, so
    that zero padding continues it.
    """

    image_size: int = 224
    shrink: int = 1
    patch_size: int = 16
    dim: int = 192
    depth: int = 12
    heads: int = 3
    embedding: int = 256
    stem: Literal["patch", "conv", "energy"] = "patch"
    conv_channels: tuple[int, int, int] = (48, 96, 192)
    conv_blocks: tuple[int, int, int] = (1, 2, 2)
    grid: int = 4
    grid_dim: int = 48
    energy_grids: tuple[int, ...] = (4, 8, 12)
    marks: int = 0
    mean: tuple[float, float, float] = (1.0, 1.0, 1.0)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    def __post_init__(self) -> None:
        if self.image_size % (self.shrink * self.patch_size):
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of shrink {self.shrink} times "
                f"patch_size {self.patch_size}"
            )
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        if self.stem != "patch" and self.patch_size != 16:
            raise ValueError(f'stem "{self.stem}" has patch_size 16, not {self.patch_size}')

    @property
    def side(self) -> int:
        """Tokens along one side of the image."""
        return self.image_size // (self.shrink * self.patch_size)

    @property
    def pooling(self) -> str:
        """Name of the readout, part of the fingerprint of the vector space."""
        name = f"mean+grid{self.grid}x{self.grid}"
        if self.stem == "energy":
            name += "+energy" + ",".join(str(grid) for grid in self.energy_grids)
        if self.marks:
            name += f"+marks{self.marks}"
        return name

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes this model's pixels: the whole of it, on white."""
        return Preprocessing(size=self.image_size, resize="letterbox", mean=self.mean, std=self.std)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> DesignViTConfig:
        """The inverse of `dataclasses.asdict` after JSON. Raises ValueError on unknown keys."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(document) - known):
            raise ValueError(f"unknown keys in the model's config: {', '.join(unknown)}")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in document.items()
        }
        return cls(**values)


class Block(nn.Module):
    """A pre-norm transformer block: (B, N, D) → (B, N, D)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.projection = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        _, n, d = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(-1, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, n, d)
        x = x + self.projection(mixed)
        hidden: Tensor = self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return x + hidden


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch norm (folded into them at export) around a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(hidden + self.shortcut(x))


class ConvStem(nn.Sequential):
    """Residual stages of strides 4, 8 and 16: (B, 3, S, S) → (B, dim, S/16, S/16)."""

    def __init__(self, config: DesignViTConfig) -> None:
        channels = config.conv_channels[0]
        layers: list[nn.Module] = [*_conv(3, channels // 2, 2), *_conv(channels // 2, channels, 2)]
        for number, (width, blocks) in enumerate(
            zip(config.conv_channels, config.conv_blocks, strict=True)
        ):
            for block in range(blocks):
                layers.append(ResidualBlock(channels, width, 2 if number and not block else 1))
                channels = width
        super().__init__(*layers, nn.Conv2d(channels, config.dim, 1))


class EnergyStem(nn.Sequential):
    """Stages of strides 8 and 16 on energies: (B, 9, S/4, S/4) → (B, dim, S/16, S/16)."""

    def __init__(self, config: DesignViTConfig) -> None:
        _, middle, last = config.conv_channels
        layers: list[nn.Module] = _conv(ORIENTATIONS + 1, middle, 2)
        layers += [ResidualBlock(middle, middle, 1) for _ in range(config.conv_blocks[1])]
        for block in range(config.conv_blocks[2]):
            layers.append(ResidualBlock(last if block else middle, last, 1 if block else 2))
        super().__init__(*layers, nn.Conv2d(last, config.dim, 1))


def _conv(channels_in: int, channels: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]


class OrientedEnergy(nn.Module):
    """Gradient energy in 8 unsigned orientations, and ink, averaged over 4×4 pixels.

    (B, 1, S, S) grey, normalised → (B, 9, S/4, S/4), not negative. Nothing here is learned. A
    gradient counts for the orientations within about 27° of its own, as in HOG's soft binning.
    """

    directions: Tensor
    opposites: Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = torch.arange(2 * ORIENTATIONS) * (math.pi / ORIENTATIONS)
        apart = torch.full_like(angles, -0.89)
        directions = torch.stack([angles.cos(), angles.sin(), apart], dim=1)[:, :, None, None]
        # half of a difference over two pixels is the gradient
        opposites = 0.5 * 9.0 * torch.eye(ORIENTATIONS).repeat(1, 2)[:, :, None, None]
        self.register_buffer("directions", directions, persistent=False)
        self.register_buffer("opposites", opposites, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        # slices: a convolution with one input and two outputs takes longer to lay out its maps
        wide = F.pad(x, (1, 1, 1, 1))
        across = wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]
        down = wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]
        magnitude = (across * across + down * down).sqrt()
        # An orientation is a direction and its opposite, one of which is beyond the limit: maps of
        # full size are written once, by a convolution and its activation, and added when pooled.
        beyond = F.relu(F.conv2d(torch.cat([across, down, magnitude], dim=1), self.directions))
        energy = F.conv2d(F.avg_pool2d(beyond, 4), self.opposites)
        # joined after the pooling, when there is a sixteenth to copy
        return torch.cat([energy, F.avg_pool2d(F.relu(-x), 4)], dim=1)


class Marks(nn.Module):
    """What is drawn wherever it lies: grey images and their energies → (B, width).

    At full, half and quarter size: shares of inked pixels by darkness, of surroundings by density
    and of gradients by orientation; these `tones` are standardised. At full size also `patterns`
    small arrangements of energies, and how what resembles one differs from it on average: VLAD
    (Jégou et al., CVPR 2010) with NetVLAD's soft assignment (Arandjelović et al., CVPR 2016), of
    length 1.
    """

    levels: Tensor
    densities: Tensor

    def __init__(self, patterns: int) -> None:
        super().__init__()
        self.cells = nn.Conv2d(ORIENTATIONS + 1, CELL_DIM, 3, padding=1, bias=False)
        self.centres = nn.Parameter(torch.randn(patterns, CELL_DIM) * 0.1)
        self.register_buffer("levels", torch.linspace(0.1, 1.0, 8), persistent=False)
        # logarithms, one step a factor of two
        self.register_buffer("densities", torch.arange(-6.0, 0.0), persistent=False)
        self.tones = 3 * (8 + 6 + ORIENTATIONS + 1)
        self.width = self.tones + patterns * CELL_DIM
        self.standardise = nn.BatchNorm1d(self.tones, affine=False, eps=1e-4)

    def forward(self, scales: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """scales: (B, 1, S, S) normalised and (B, 9, S/4, S/4) for each of `MARKED_SIZES`."""
        parts = []
        for scaled, energy in scales:
            parts += [self._tones(scaled), _shares(energy[:, :ORIENTATIONS].mean(dim=(2, 3)))]
        standard: Tensor = self.standardise(torch.cat(parts, dim=1))
        differences = self._differences((scales[0][1] + 1e-4).sqrt())
        # a rare statistic must not outweigh the rest
        return torch.cat([standard.clamp(-4.0, 4.0), differences], dim=1)

    def _tones(self, x: Tensor) -> Tensor:
        ink = x.mul(-0.25).clamp(0.0, 1.0)
        dark = F.relu(1.0 - (ink - self.levels.view(1, -1, 1, 1)).abs() * 7.0).mean(dim=(2, 3))
        local = F.avg_pool2d(ink, 8).add(2.0**-9).log2()
        dense = F.relu(1.0 - (local - self.densities.view(1, -1, 1, 1)).abs()).mean(dim=(2, 3))
        amount = ink.mean(dim=(2, 3)).add(1e-3).log()
        return torch.cat([_shares(dark), _shares(dense), amount], dim=1)

    def arrangements(self, energy: Tensor) -> tuple[Tensor, Tensor]:
        """Roots of energies (B, 9, H, W) → norms (B, 1, H, W) of 3×3 cells, and which are drawn."""
        square = F.avg_pool2d(energy.square().sum(dim=1, keepdim=True), 3, 1, 1) * 9.0
        norm = square.add(1e-6).sqrt()
        return norm, (norm * 10.0 - 1.5).clamp(0.0, 1.0)

    def _differences(self, energy: Tensor) -> Tensor:
        """Roots of energies (B, 9, H, W) → (B, patterns · CELL_DIM)."""
        norm, drawn = (map.permute(0, 2, 3, 1).flatten(1, 2) for map in self.arrangements(energy))
        cells = self.cells(energy).permute(0, 2, 3, 1).flatten(1, 2) / norm
        # less the square of a cell, which is the same for all patterns
        nearness = F.linear(
            cells, 2.0 * SHARPNESS * self.centres, -SHARPNESS * self.centres.square().sum(1)
        )
        share = F.softmax(nearness, dim=2).transpose(1, 2)
        # what is drawn weighs the few numbers of a cell, and counts itself in the same product
        sums = torch.matmul(share, torch.cat([cells * drawn, drawn], dim=2))
        amount = sums[:, :, -1:]
        means = (sums[:, :, :-1] - amount * self.centres) / (amount.sum(dim=1, keepdim=True) + 1e-4)
        # signed roots: what one drawing repeats a hundred times must not decide alone
        return F.normalize((means / (means.abs() + 1e-6).sqrt()).flatten(1), dim=1)


def _shares(amounts: Tensor) -> Tensor:
    """Roots of the shares of amounts (B, N) ≥ 0."""
    total = amounts.sum(dim=1, keepdim=True) + 1e-4
    return (amounts / total + 1e-5).sqrt()


class DesignViT(nn.Module):
    """Image → embedding on the unit sphere.

    trained: whether the weights come from training; an untrained model finds nothing useful.
    """

    averages: Tensor

    def __init__(self, config: DesignViTConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DesignViTConfig()
        self.trained = False
        self.stem: nn.Module
        if config.stem == "conv":
            self.stem = ConvStem(config)
        elif config.stem == "energy":
            self.energy = OrientedEnergy()
            self.stem = EnergyStem(config)
        else:
            self.stem = nn.Conv2d(3, config.dim, config.patch_size, stride=config.patch_size)
        self.positions = nn.Parameter(torch.zeros(1, config.side**2, config.dim))
        self.blocks = nn.ModuleList(Block(config.dim, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.grid = nn.Linear(config.dim, config.grid_dim)
        width = config.dim + config.grid**2 * config.grid_dim
        self.register_buffer("averages", grid_averages(config.side, config.grid), persistent=False)
        if config.stem == "energy":
            for grid in config.energy_grids:
                averages = grid_averages(4 * config.side, grid)
                self.register_buffer(f"energy_averages_{grid}", averages, persistent=False)
                width += grid**2 * (ORIENTATIONS + 1)
        if config.marks:
            self.marks = Marks(config.marks)
            width += self.marks.width
        self.head = nn.Linear(width, config.embedding)
        # Centred embeddings: without it all drawings start in one direction, and training spends
        # its first hundreds of steps on leaving it. Folds into the head.
        self.centre: nn.Module = nn.Identity()
        if config.stem != "patch":
            self.centre = nn.BatchNorm1d(config.embedding, affine=False)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.config.stem == "energy":
            # at first the histograms alone decide, and the tokens grow into it
            tokens = self.config.dim + self.config.grid**2 * self.config.grid_dim
            with torch.no_grad():
                self.head.weight[:, :tokens] *= 0.1

    @classmethod
    def from_seed(cls, seed: int = 0, config: DesignViTConfig | None = None) -> DesignViT:
        """An untrained model whose weights depend on `seed` and `config` alone; in eval mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(config).eval()

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x as in `forward` → tokens (B, N, dim) and the readout (B, R) that the head projects."""
        extras: list[Tensor] = []
        if self.config.stem == "energy":
            scales = self.scales(x)
            energy = scales[self.config.shrink][1]
            extras = [self._histogram(energy, grid) for grid in self.config.energy_grids]
            if self.config.marks:
                extras.append(self.marks([scales[size] for size in MARKED_SIZES]))
            x = (energy + 1e-4).sqrt()
        elif self.config.shrink > 1:
            x = F.avg_pool2d(x, self.config.shrink)
        x = self.stem(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        tokens: Tensor = self.norm(x)
        cells = torch.matmul(self.averages, self.grid(tokens)).flatten(1)
        return tokens, torch.cat([tokens.mean(dim=1), cells, *extras], dim=1)

    def scales(self, x: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
        """Of x (B, 3, S, S): grey and energies at each 1/size that tokens and marks look at."""
        grey = x.mean(dim=1, keepdim=True)
        sizes = {self.config.shrink, *(MARKED_SIZES if self.config.marks else ())}
        scaled = {size: F.avg_pool2d(grey, size) if size > 1 else grey for size in sorted(sizes)}
        return {size: (image, self.energy(image)) for size, image in scaled.items()}

    def _histogram(self, energy: Tensor, grid: int) -> Tensor:
        """Roots of the energies of grid×grid cells, with a mean square of 1: (B, grid² · 9)."""
        averages = self.get_buffer(f"energy_averages_{grid}")
        cells = torch.matmul(averages, energy.flatten(2).transpose(1, 2)).flatten(1)
        cells = (cells + 1e-6).sqrt()
        return F.normalize(cells, dim=1) * math.sqrt(cells.shape[1])

    def tokens(self, x: Tensor) -> Tensor:
        """Patch tokens of x, (B, 3, S, S) normalised → (B, N, dim), row by row from the top."""
        return self.features(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, 3, S, S) float, normalised with the config's mean and std → (B, embedding), L2."""
        return F.normalize(self.centre(self.head(self.features(x)[1])), dim=1)

    def normalise(self, pixels: Tensor) -> Tensor:
        """`pixels` (B, S, S, 3) uint8, as served, → the float (B, 3, S, S) that `forward` takes."""
        mean = torch.tensor(self.config.mean, device=pixels.device) * 255.0
        std = torch.tensor(self.config.std, device=pixels.device) * 255.0
        return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)

    def at_size(self, image_size: int, *, shrink: int = 1) -> DesignViT:
        """A copy for another image size; position embeddings are interpolated (bicubic)."""
        config = dataclasses.replace(self.config, image_size=image_size, shrink=shrink)
        state = self.state_dict()
        side, dim = self.config.side, self.config.dim
        if config.side != side:
            grid = state["positions"].reshape(1, side, side, dim).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, size=(config.side, config.side), mode="bicubic")
            state["positions"] = grid.permute(0, 2, 3, 1).reshape(1, config.side**2, dim)
        model = DesignViT.from_seed(0, config)
        model.load_state_dict(state)
        model.trained = self.trained
        return model.to(self.positions.device).train(self.training)

    def for_training(self, size: int) -> DesignViT:
        """A copy whose tokens see images of `size` pixels.

        With `Marks` it keeps its image size, because pens are known at full size, and averages for
        the tokens. Raises ValueError when its image size is no multiple of `size` then.
        """
        if not self.config.marks:
            return self.at_size(size)
        if self.config.image_size % size:
            raise ValueError(
                f"size {size}: an encoder with marks sees {self.config.image_size} pixels; "
                "accepted are whole fractions of that"
            )
        return self.at_size(self.config.image_size, shrink=self.config.image_size // size)

    def save(self, folder: Path, *, half: bool = False) -> None:
        """Write config.json and model.safetensors (as FP16 if `half`) into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.detach().cpu() for name, tensor in self.state_dict().items()}
        if half:
            state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        state = {name: tensor.contiguous() for name, tensor in state.items()}
        (folder / WEIGHTS_FILE).write_bytes(serialise(state))
        document = {
            "family": FAMILY,
            "trained": self.trained,
            "model": dataclasses.asdict(self.config),
        }
        (folder / CONFIG_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> DesignViT:
        """Read what `save` wrote: FP32, in eval mode.

        Raises FileNotFoundError when a file is missing and ValueError when config.json describes
        another kind of model or another shape than the weights have.
        """
        path = folder / CONFIG_FILE
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.get("family") != FAMILY:
            raise ValueError(f'{path} does not describe a model of family "{FAMILY}"')
        model = cls.from_seed(0, DesignViTConfig.from_dict(document["model"]))
        state = load_file(folder / WEIGHTS_FILE)
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"{folder / WEIGHTS_FILE} does not fit {path}: {error}") from None
        model.trained = bool(document["trained"])
        return model


def grid_averages(side: int, grid: int) -> Tensor:
    """The fixed matrix (grid², side²) float32 that averages side×side tokens over grid×grid cells.

    The cells are those of adaptive average pooling (they overlap where side is no multiple of
    grid), written as a matrix product because that exports for every size.
    """
    rows = torch.zeros(grid, side)
    for cell in range(grid):
        start, stop = cell * side // grid, math.ceil((cell + 1) * side / grid)
        rows[cell, start:stop] = 1.0 / (stop - start)
    return torch.einsum("ab,cd->acbd", rows, rows).reshape(grid * grid, side * side)
