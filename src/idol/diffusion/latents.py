"""Pixels to the latents that the U-Net sees, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from idol.clip.depth import Colormap, colorize_tensor
from idol.clip.modality import Modality

LatentReference = Literal["none", "background", "draft"]
ReferenceLatents = Float[Tensor, "b c i j"] | Float[Tensor, "b f c i j"] | Float[Tensor, "b m f c i j"]
"""Latents that are subtracted: of a background, still or moving, or of the draft of every modality."""
RENAMED_FIELDS = {"colour_map": "colormap", "offset": "latent_reference"}
"""Fields of `LatentConfig` in checkpoints of earlier versions, and what they are called now."""


@dataclass(frozen=True)
class LatentConfig:
    """How the autoencoder's latents E are normalized.

    Per channel, latents of a modality are (E - reference - shift) / scale, and those of an image
    (E - image_shift) / image_scale.

    Attributes:
        scale: (m, c) standard deviations, video first.
        shift: (m, c) means.
        image_scale: (c,) standard deviations of images: the background, the person's crop.
        image_shift: (c,) means of images.
        latent_reference: What is subtracted. "none": nothing. "background": the latent of the known
            background for the video and that of an empty depth map for the depth, so that a scene without a
            person is 0. "draft": the latent of each modality's draft (`idol.body.draft`), so that a
            perfect draft is 0.
        colormap: Colors of the depth.
    """

    scale: tuple[tuple[float, ...], ...]
    shift: tuple[tuple[float, ...], ...]
    image_scale: tuple[float, ...]
    image_shift: tuple[float, ...]
    latent_reference: LatentReference = "none"
    colormap: Colormap = "hot"

    def __post_init__(self) -> None:
        c = len(self.image_scale)
        rows = (*self.scale, *self.shift, self.image_shift)
        if len(self.scale) != len(self.shift) or any(len(row) != c for row in rows):
            raise ValueError(f"scale, shift and image_shift do not all have the {c} channels of image_scale")
        if not all(s > 0 for row in (*self.scale, self.image_scale) for s in row):
            raise ValueError("scale: every entry must be positive")

    @staticmethod
    def upgrade(values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a saved config by their present names."""
        return {RENAMED_FIELDS.get(name, name): value for name, value in values.items()}

    @classmethod
    def stable_diffusion(cls, m: int = 2, colormap: Colormap = "hot") -> "LatentConfig":
        """Return Stable Diffusion's normalization: E times 0.18215 for everything.

        Args:
            m: Number of modalities.
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
        """Pixels per latent position, per side."""
        if hasattr(self.vae, "downscale"):
            return self.vae.downscale
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def stacked(self) -> bool:
        """Whether a latent holds a frame and its depth together (LDM3D)."""
        return self.vae.config.in_channels == 6

    @property
    def produces_depth(self) -> bool:
        """Whether decoded latents contain depth."""
        return self.stacked or len(self.config.scale) == len(Modality)

    @property
    def channels(self) -> int:
        """Latent channels."""
        return len(self.config.image_scale)

    def encode_image(
        self, images: Float[Tensor, "*b 3 h w"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "*b c i j"]:
        """Encode images: backgrounds (one or one per frame) and crops.

        Args:
            images: In [-1, 1].
            generator: Samples a variational autoencoder's distribution; None takes its mean.
        """
        flat = self._with_no_depth(images.flatten(0, -4))
        raw = encode_raw(self.vae, flat, generator).unflatten(0, images.shape[:-3])
        return (raw - self._row(self.config.image_shift, raw)) / self._row(self.config.image_scale, raw)

    def encode_draft(
        self, video: Float[Tensor, "b f 3 h w"], depth: Float[Tensor, "b f h w"]
    ) -> Float[Tensor, "b m f c i j"]:
        """Encode drafts; see `normalize_draft`.

        Args:
            video: In [-1, 1].
            depth: In [0, 1].
        """
        colored = colorize_tensor(depth, self.config.colormap) if self.produces_depth else None
        return self.normalize_draft(self._encode_modalities(video, colored, None))

    def normalize_draft(self, raw: Float[Tensor, "b m f c i j"]) -> Float[Tensor, "b m f c i j"]:
        """Normalize drafts' latents E: video like an image, depth so that it is 0 without a person."""
        return (raw - self._draft_origin(raw)) / self._row(self.config.image_scale, raw)

    def encode(
        self,
        video: Float[Tensor, "b f 3 h w"],
        depth: Float[Tensor, "b f 3 h w"] | None,
        reference: ReferenceLatents | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "b m f c i j"]:
        """Encode clips to the latents that the U-Net is trained on.

        Args:
            video: RGB in [-1, 1].
            depth: Colored depth in [-1, 1]; None gives one modality.
            reference: `encode_image` of the background or `encode_draft`, as `latent_reference` says.
            generator: See `encode_image`.
        """
        return self.normalize(self._encode_modalities(video, depth, generator), reference)

    def normalize(
        self,
        raw: Float[Tensor, "b m f c i j"],
        reference: ReferenceLatents | None = None,
    ) -> Float[Tensor, "b m f c i j"]:
        """Normalize the autoencoder's latents E, e.g. those of a cache; inverse of `denormalize`.

        Args:
            raw: E.
            reference: As for `encode`.
        """
        centered = raw - self._origin(raw, reference) - self._per_modality(self.config.shift, raw)
        return centered / self._per_modality(self.config.scale, raw)

    def denormalize(
        self,
        latents: Float[Tensor, "b m f c i j"],
        reference: ReferenceLatents | None = None,
    ) -> Float[Tensor, "b m f c i j"]:
        """Return the autoencoder's latents E.

        Args:
            latents: As made by `encode`.
            reference: As for `encode`.
        """
        latents = latents.float()
        scaled = latents * self._per_modality(self.config.scale, latents)
        shifted = scaled + self._per_modality(self.config.shift, latents)
        return shifted + self._origin(latents, reference)

    def decode(
        self,
        latents: Float[Tensor, "b m f c i j"],
        reference: ReferenceLatents | None = None,
        chunk: int = 8,
        modalities: slice = slice(None),
    ) -> Float[Tensor, "b p f 3 h w"]:
        """Decode latents to RGB frames and colored depth (p = 2), or one of them; clamped to [-1, 1].

        Args:
            latents: As made by `encode`.
            reference: As for `encode`.
            chunk: Images decoded at a time, which bounds memory.
            modalities: Which of the m are decoded.
        """
        raw = self.denormalize(latents, reference)[:, modalities]
        images = torch.cat([decode_raw(self.vae, part) for part in raw.flatten(0, 2).split(chunk)])
        images = images.clamp(-1, 1).unflatten(0, raw.shape[:3])  # b p f (3 or 6) h w
        return torch.cat(images.split(3, dim=3), 1) if self.stacked else images

    def reconstruct(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Encode and decode images in [-1, 1]."""
        return decode_raw(self.vae, encode_raw(self.vae, self._with_no_depth(images)))[:, :3].clamp(-1, 1)

    def empty_depth(self, height: int, width: int) -> Float[Tensor, "1 c i j"]:
        """Return the autoencoder's latent E of a depth map that is 0 everywhere.

        Args:
            height: Of the map, pixels.
            width: Of the map, pixels.
        """
        if (height, width) not in self._empty_depth:  # encoded once for each size
            zero = torch.zeros(1, height, width, device=next(self.vae.parameters()).device)
            with torch.no_grad():
                empty = encode_raw(self.vae, colorize_tensor(zero, self.config.colormap))
            self._empty_depth[height, width] = empty
        return self._empty_depth[height, width]

    def _encode_modalities(
        self, video: Tensor, depth: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """Return the autoencoder's latents E (b, m, f, c, i, j)."""
        if self.stacked:
            if depth is None:
                raise ValueError("depth: an autoencoder of six channels needs it")
            images = [torch.cat([video, depth], 2)]  # b f 6 h w
        else:
            images = [video] if depth is None else [video, depth]
        raw = [encode_raw(self.vae, x.flatten(0, 1), generator).unflatten(0, x.shape[:2]) for x in images]
        return torch.stack(raw, 1)

    def _with_no_depth(self, images: Tensor) -> Tensor:
        """Append an empty depth to images (n, 3, h, w) where the autoencoder takes six channels."""
        if not self.stacked:
            return images
        zero = images.new_zeros(len(images), *images.shape[-2:])
        return torch.cat([images, colorize_tensor(zero, self.config.colormap)], 1)

    def _origin(self, like: Tensor, reference: Tensor | None) -> Tensor:
        """Return the latents E that are subtracted, (b, m, f or 1, c, i, j), or zero."""
        kind = self.config.latent_reference
        if kind == "none":
            return like.new_zeros(())
        if reference is None:
            raise ValueError(f"reference: latent_reference {kind!r} needs its latents")
        x = reference.float()
        if kind == "draft":
            return x * self._row(self.config.image_scale, x) + self._draft_origin(x)
        image = x * self._row(self.config.image_scale, x) + self._row(self.config.image_shift, x)
        image = (image[:, None] if image.ndim == 4 else image)[:, None]  # b 1 (f or 1) c i j
        if like.shape[1] == 1:
            return image
        # the reference of the video is the background, that of the depth an empty scene
        return torch.cat([image, self._empty(like).expand_as(image)], 1)

    def _draft_origin(self, like: Tensor) -> Tensor:
        """Return the latents E (m, 1, c, i, j) that `normalize_draft` maps to 0."""
        image = self._row(self.config.image_shift, like).expand(1, 1, *like.shape[-3:])
        return image if like.shape[1] == 1 else torch.cat([image, self._empty(like)[None]])

    def _empty(self, like: Tensor) -> Tensor:
        """Return `empty_depth` at the size of latents (..., c, i, j)."""
        k = self.downscale
        return self.empty_depth(like.shape[-2] * k, like.shape[-1] * k).to(like)

    def _per_modality(self, rows: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
        # (m, c) to (m, 1, c, 1, 1), for latents (b, m, f, c, i, j)
        return like.new_tensor(rows[: like.shape[1]], dtype=torch.float32)[:, None, :, None, None]

    def _row(self, row: tuple[float, ...], like: Tensor) -> Tensor:
        return like.new_tensor(row, dtype=torch.float32)[:, None, None]


def encode_raw(
    vae: Any, images: Float[Tensor, "n k h w"], generator: torch.Generator | None = None
) -> Float[Tensor, "n c i j"]:
    """Encode images to latents E in float32, by either kind of autoencoder.

    Args:
        vae: diffusers' `AutoencoderKL`, or `idol.model.autoencoder.Autoencoder`.
        images: In [-1, 1].
        generator: Samples a variational autoencoder's distribution; None takes its mean.
    """
    # weights may be bfloat16; latents are float32 all the same
    encoded = vae.encode(images.to(next(vae.parameters()).dtype))
    if isinstance(encoded, Tensor):
        return encoded.float()
    distribution = encoded.latent_dist
    return (distribution.mode() if generator is None else distribution.sample(generator)).float()


def decode_raw(vae: Any, latents: Float[Tensor, "n c i j"]) -> Float[Tensor, "n k h w"]:
    """Decode latents E to images in float32, about [-1, 1].

    Args:
        vae: As for `encode_raw`.
        latents: E.
    """
    decoded = vae.decode(latents.to(next(vae.parameters()).dtype))
    return (decoded if isinstance(decoded, Tensor) else decoded.sample).float()


class Moments:
    """Running first and second moments per channel, in float64."""

    def __init__(self) -> None:
        self.count, self.first, self.second = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Float[Tensor, "n c h w"]) -> None:
        """Add a batch."""
        x = x.double()
        self.count += x.shape[0] * x.shape[2] * x.shape[3]
        self.first = self.first + x.sum((0, 2, 3)).cpu()
        self.second = self.second + x.square().sum((0, 2, 3)).cpu()

    def scale_and_shift(
        self, centered: bool, per_channel: bool = True
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return standard deviations and means (c,).

        Args:
            centered: Return means; else they are taken as 0, and deviations are root mean squares.
            per_channel: Return a deviation for each channel; else the same for all, their root mean square.
        """
        mean = self.first / self.count if centered else torch.zeros_like(self.first)
        square = self.second / self.count - mean.square()
        square = square if per_channel else square.mean().expand_as(square)
        return tuple(square.clamp_min(1e-12).sqrt().tolist()), tuple(mean.tolist())
