"""Between pixels and the latents that the U-Net sees."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from idol.clip.depth import Colormap, colorize_tensor

Offset = Literal["none", "background", "draft"]
Reference = Float[Tensor, "b c i j"] | Float[Tensor, "b f c i j"] | Float[Tensor, "b m f c i j"]
"""Latents that others are counted from: of a background, still or moving, or of the draft of every stream."""


@dataclass(frozen=True)
class LatentConfig:
    """How the autoencoder's latents E are normalized.

    Per channel, a stream's latents are (E - reference - shift) / scale, and those of an image
    (E - image_shift) / image_scale.

    Attributes:
        scale: (m, c) standard deviations, video first.
        shift: (m, c) means.
        image_scale: (c,) of images: the background, the person's crop.
        image_shift: (c,) of images.
        offset: The reference: "none" is 0. "background" is the latent of the known background for the video
            and that of an empty depth map for the depth, so that a scene without a person is 0. "draft" is
            the latent of each stream's draft (`idol.pose.limb_warp`), so that a draft without a fault is 0.
        colormap: Colors of the depth.
    """

    scale: tuple[tuple[float, ...], ...]
    shift: tuple[tuple[float, ...], ...]
    image_scale: tuple[float, ...]
    image_shift: tuple[float, ...]
    offset: Offset = "none"
    colormap: Colormap = "hot"

    def __post_init__(self) -> None:
        c = len(self.image_scale)
        rows = (*self.scale, *self.shift, self.image_shift)
        if len(self.scale) != len(self.shift) or any(len(row) != c for row in rows):
            raise ValueError(f"scale, shift and image_shift do not all have the {c} channels of image_scale")
        if not all(s > 0 for row in (*self.scale, self.image_scale) for s in row):
            raise ValueError("scale: every entry must be positive")

    @classmethod
    def stable_diffusion(cls, m: int = 2, colormap: Colormap = "hot") -> "LatentConfig":
        """Stable Diffusion's: E times 0.18215 for everything.

        Args:
            m: Modalities.
            colormap: Colors of the depth.
        """
        scale, shift = (1 / 0.18215,) * 4, (0.0,) * 4
        return cls((scale,) * m, (shift,) * m, scale, shift, colormap=colormap)


class LatentCodec:
    """Encodes clips and images, decodes latents.

    Args:
        vae: diffusers' `AutoencoderKL`, or `idol.model.autoencoder.Autoencoder`.
        config: The normalization.
    """

    def __init__(self, vae: Any, config: LatentConfig) -> None:
        self.vae, self.config = vae, config
        self._empty_depth: dict[tuple[int, int], Tensor] = {}

    @property
    def downscale(self) -> int:
        """Pixels a side for one latent position."""
        if hasattr(self.vae, "downscale"):
            return self.vae.downscale
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def stacked(self) -> bool:
        """Whether a latent holds a frame and its depth together (LDM3D)."""
        return self.vae.config.in_channels == 6

    @property
    def channels(self) -> int:
        """Latent channels."""
        return len(self.config.image_scale)

    def encode_image(
        self, images: Float[Tensor, "*b 3 h w"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "*b c i j"]:
        """Latents of images in [-1, 1]: backgrounds (one or one per frame) and crops.

        Args:
            images: The images.
            generator: Draw from a variational autoencoder's distribution; None takes its mean.
        """
        flat = self._with_no_depth(images.flatten(0, -4))
        raw = encode_raw(self.vae, flat, generator).unflatten(0, images.shape[:-3])
        return (raw - self._of(self.config.image_shift, raw)) / self._of(self.config.image_scale, raw)

    def encode_draft(
        self, video: Float[Tensor, "b f 3 h w"], depth: Float[Tensor, "b f h w"]
    ) -> Float[Tensor, "b m f c i j"]:
        """Latents of drafts: video in [-1, 1], depth in [0, 1]; see `normalize_draft`."""
        takes_depth = self.stacked or len(self.config.scale) == 2
        colored = colorize_tensor(depth, self.config.colormap) if takes_depth else None
        return self.normalize_draft(self._encode_streams(video, colored, None))

    def normalize_draft(self, raw: Float[Tensor, "b m f c i j"]) -> Float[Tensor, "b m f c i j"]:
        """Of the autoencoder's own latents: the video as an image, the depth 0 where there is nobody."""
        return (raw - self._draft_origin(raw)) / self._of(self.config.image_scale, raw)

    def encode(
        self,
        video: Float[Tensor, "b f 3 h w"],
        depth: Float[Tensor, "b f 3 h w"] | None,
        reference: Reference | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "b m f c i j"]:
        """Latents of clips, as the U-Net is trained on.

        Args:
            video: RGB in [-1, 1].
            depth: Colored depth in [-1, 1]; None gives one modality.
            reference: `encode_image` of the background, or `encode_draft`; needed if `offset` says so.
            generator: See `encode_image`.
        """
        return self.normalize(self._encode_streams(video, depth, generator), reference)

    def normalize(
        self,
        raw: Float[Tensor, "b m f c i j"],
        reference: Reference | None = None,
    ) -> Float[Tensor, "b m f c i j"]:
        """Normalize the autoencoder's own latents (for a cache that keeps those); inverse: `denormalize`."""
        centered = raw - self._origin(raw, reference) - self._per_stream(self.config.shift, raw)
        return centered / self._per_stream(self.config.scale, raw)

    def denormalize(
        self,
        latents: Float[Tensor, "b m f c i j"],
        reference: Reference | None = None,
    ) -> Float[Tensor, "b m f c i j"]:
        """The autoencoder's own latents."""
        latents = latents.float()
        scaled = latents * self._per_stream(self.config.scale, latents)
        shifted = scaled + self._per_stream(self.config.shift, latents)
        return shifted + self._origin(latents, reference)

    def decode(
        self,
        latents: Float[Tensor, "b m f c i j"],
        reference: Reference | None = None,
        chunk: int = 8,
        streams: slice = slice(None),
    ) -> Float[Tensor, "b p f 3 h w"]:
        """Images of latents: RGB frames and colored depth (p = 2), or one of them; clamped to [-1, 1].

        Args:
            latents: As made by `encode`.
            reference: As for `encode`.
            chunk: Images decoded at a time, which bounds memory.
            streams: Which of the m are decoded.
        """
        raw = self.denormalize(latents, reference)[:, streams]
        images = torch.cat([decode_raw(self.vae, part) for part in raw.flatten(0, 2).split(chunk)])
        images = images.clamp(-1, 1).unflatten(0, raw.shape[:3])
        return torch.cat(images.split(3, dim=3), 1) if self.stacked else images

    def reconstructed(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Images in [-1, 1] after a way through the autoencoder."""
        return decode_raw(self.vae, encode_raw(self.vae, self._with_no_depth(images)))[:, :3].clamp(-1, 1)

    def empty_depth(self, height: int, width: int) -> Float[Tensor, "1 c i j"]:
        """The autoencoder's own latent of a depth map that is 0 everywhere; height and width in pixels."""
        if (height, width) not in self._empty_depth:
            zero = torch.zeros(1, height, width, device=next(self.vae.parameters()).device)
            with torch.no_grad():
                empty = encode_raw(self.vae, colorize_tensor(zero, self.config.colormap))
            self._empty_depth[height, width] = empty
        return self._empty_depth[height, width]

    def _encode_streams(
        self, video: Tensor, depth: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """The autoencoder's own latents (b, m, f, c, i, j)."""
        if self.stacked:
            if depth is None:
                raise ValueError("depth: an autoencoder of six channels needs it")
            streams = [torch.cat([video, depth], 2)]
        else:
            streams = [video] if depth is None else [video, depth]
        raw = [encode_raw(self.vae, s.flatten(0, 1), generator).unflatten(0, s.shape[:2]) for s in streams]
        return torch.stack(raw, 1)

    def _with_no_depth(self, images: Tensor) -> Tensor:
        """Images (n, 3, h, w), with an empty depth behind them where the autoencoder takes it."""
        if not self.stacked:
            return images
        zero = images.new_zeros(len(images), *images.shape[-2:])
        return torch.cat([images, colorize_tensor(zero, self.config.colormap)], 1)

    def _origin(self, like: Tensor, reference: Tensor | None) -> Tensor:
        """What the autoencoder's latents are counted from (b, m, f or 1, c, i, j), or zero."""
        if self.config.offset == "none":
            return like.new_zeros(())
        if reference is None:
            raise ValueError(f"reference: offset {self.config.offset!r} needs its latents")
        given = reference.float()
        if self.config.offset == "draft":
            return given * self._of(self.config.image_scale, given) + self._draft_origin(given)
        image = given * self._of(self.config.image_scale, given) + self._of(self.config.image_shift, given)
        image = (image[:, None] if image.ndim == 4 else image)[:, None]
        if like.shape[1] == 1:
            return image
        return torch.cat([image, self._empty(like).expand_as(image)], 1)

    def _draft_origin(self, like: Tensor) -> Tensor:
        """(m, 1, c, i, j): what is 0 in `normalize_draft`."""
        image = self._of(self.config.image_shift, like).expand(1, 1, *like.shape[-3:])
        return image if like.shape[1] == 1 else torch.cat([image, self._empty(like)[None]])

    def _empty(self, like: Tensor) -> Tensor:
        """`empty_depth` of the size of latents (..., c, i, j)."""
        k = self.downscale
        return self.empty_depth(like.shape[-2] * k, like.shape[-1] * k).to(like)

    def _per_stream(self, rows: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
        return like.new_tensor(rows[: like.shape[1]], dtype=torch.float32)[:, None, :, None, None]

    def _of(self, row: tuple[float, ...], like: Tensor) -> Tensor:
        return like.new_tensor(row, dtype=torch.float32)[:, None, None]


def encode_raw(
    vae: Any, images: Float[Tensor, "n k h w"], generator: torch.Generator | None = None
) -> Float[Tensor, "n c i j"]:
    """The autoencoder's own latents in float32, of either kind of autoencoder, for images in [-1, 1]."""
    encoded = vae.encode(images.to(next(vae.parameters()).dtype))
    if isinstance(encoded, Tensor):
        return encoded.float()
    distribution = encoded.latent_dist
    return (distribution.mode() if generator is None else distribution.sample(generator)).float()


def decode_raw(vae: Any, latents: Float[Tensor, "n c i j"]) -> Float[Tensor, "n k h w"]:
    """Images in float32, about [-1, 1], of the autoencoder's own latents."""
    decoded = vae.decode(latents.to(next(vae.parameters()).dtype))
    return (decoded if isinstance(decoded, Tensor) else decoded.sample).float()


@torch.no_grad()
def fit_latent_config(
    vae: Any,
    clips: Iterable[tuple[Tensor, Tensor, Tensor]],
    offset: Offset = "none",
    colormap: Colormap = "hot",
) -> LatentConfig:
    """Measure the normalization on clips: every channel of every stream then has mean square 1.

    Args:
        vae: The trained autoencoder.
        clips: Triples of video (b, f, 3, h, w), colored depth (b, f, 3, h, w) and background (b, 3, h, w) or
            (b, f, 3, h, w), all in [-1, 1].
        offset: As in `LatentConfig`. With a reference no mean is taken off, so that an empty scene stays 0.
        colormap: Colors of the depth.

    Raises:
        ValueError: If there are no clips.
    """
    unit: LatentCodec | None = None
    streams, images = [Moments(), Moments()], Moments()
    for video, depth, background in clips:
        if unit is None:
            unit = LatentCodec(vae, _unit_config(vae, background, offset, colormap))
        image = unit.encode_image(background)
        latents = unit.encode(video, depth, image)
        images.add(image.flatten(0, -4))
        for moments, stream in zip(streams, latents.unbind(1), strict=True):
            moments.add(stream.flatten(0, 1))
    if unit is None:
        raise ValueError("clips: found none, expected at least one")
    centered = offset == "none"
    scales, shifts = zip(*(m.scale_and_shift(centered) for m in streams), strict=True)
    image_scale, image_shift = images.scale_and_shift(True)
    return LatentConfig(scales, shifts, image_scale, image_shift, offset, colormap)


class Moments:
    """Running first and second moments per channel, in float64."""

    def __init__(self) -> None:
        self.count, self.first, self.second = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Float[Tensor, "n c h w"]) -> None:
        """Take in a batch."""
        x = x.double()
        self.count += x.shape[0] * x.shape[2] * x.shape[3]
        self.first = self.first + x.sum((0, 2, 3)).cpu()
        self.second = self.second + x.square().sum((0, 2, 3)).cpu()

    def scale_and_shift(
        self, centered: bool, per_channel: bool = True
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Standard deviation and mean per channel, or root mean square and 0; or one scale for all."""
        mean = self.first / self.count if centered else torch.zeros_like(self.first)
        square = self.second / self.count - mean.square()
        square = square if per_channel else square.mean().expand_as(square)
        return tuple(square.clamp_min(1e-12).sqrt().tolist()), tuple(mean.tolist())


def _unit_config(vae: Any, image: Tensor, offset: Any, colormap: Colormap) -> LatentConfig:
    c = encode_raw(vae, image.flatten(0, -4)[:1]).shape[1]
    one, zero = (1.0,) * c, (0.0,) * c
    return LatentConfig((one, one), (zero, zero), one, zero, offset, colormap)
