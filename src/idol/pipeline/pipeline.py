"""One person, one background and a motion to a video and its depth: sampling (Secs. 3 and 4 of the paper)."""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from idol.clip import Pose
from idol.config import from_dict, to_dict
from idol.diffusion.schedule import set_steps
from idol.errors import UserError
from idol.model import PoseAdapter, PoseControlNet, UnifiedUNet
from idol.model.autoencoder import Autoencoder
from idol.model.checkpoints import check_checkpoint, download_checkpoint, find_checkpoint
from idol.model.encoders import CLIPForeground, LatentCodec, LatentConfig, LatentForeground
from idol.pipeline.compositing import Detail
from idol.pipeline.config import GenerationConfig, IdolOutput, as_numpy, joined
from idol.pipeline.decoder import Decoder, decode_frames
from idol.pipeline.denoiser import Denoiser, noise_of
from idol.pipeline.disk_tensor import parts_of
from idol.pipeline.frame_conditions import FrameSequence, cut_dolls, encode_drafts, encode_plates
from idol.pipeline.image_inputs import People, crop_people
from idol.pipeline.known_modality import encode_given
from idol.progress import Count, unheard

COMPONENTS: tuple[type, ...] = (
    Autoencoder,
    AutoencoderKL,
    CLIPForeground,
    LatentForeground,
    PoseAdapter,
    PoseControlNet,
    UnifiedUNet,
)
_RENAMED = {"colour_map": "colormap"}  # fields of latent_config in checkpoints of earlier versions
Scheduler = DDIMScheduler | FlowMatchEulerDiscreteScheduler
Callback = Callable[["IdolPipeline", int, Tensor, dict[str, Any]], Any]


class IdolPipeline(DiffusionPipeline):
    """Generates a video and its depth together.

    Args:
        vae: Autoencoder of both modalities.
        unet: The unified U-Net.
        control: How the pose enters; None for a network without pose control.
        foreground_encoder: How the person enters.
        scheduler: diffusers' DDIM or Euler flow-matching scheduler.
        background_control: How the background enters where the U-Net leaves it to a ControlNet.
        latent_config: Fields of `LatentConfig`; Stable Diffusion's when None.
        generation_config: Fields of `GenerationConfig`; its defaults when None.

    Raises:
        ValueError: If the U-Net leaves the background to a ControlNet and there is none, or the reverse; if
            latents are counted from drafts that the U-Net does not take.
    """

    vae: Autoencoder | AutoencoderKL
    unet: UnifiedUNet
    control: PoseAdapter | PoseControlNet | None
    foreground_encoder: CLIPForeground | LatentForeground
    scheduler: Any  # a Scheduler; diffusers declares its tensors too narrowly
    background_control: PoseControlNet | None
    _optional_components = ["control", "background_control"]
    _callback_tensor_inputs = ["latents"]

    def __init__(
        self,
        vae: Autoencoder | AutoencoderKL,
        unet: UnifiedUNet,
        control: PoseAdapter | PoseControlNet | None,
        foreground_encoder: CLIPForeground | LatentForeground,
        scheduler: Scheduler,
        background_control: PoseControlNet | None = None,
        latent_config: dict[str, Any] | None = None,
        generation_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if (background_control is None) == (unet.config["background"] == "controlnet"):
            raise ValueError('background_control: goes with a U-Net of background "controlnet", and no other')
        self.register_modules(
            vae=vae,
            unet=unet,
            control=control,
            foreground_encoder=foreground_encoder,
            scheduler=scheduler,
            background_control=background_control,
        )
        latents = latent_config or to_dict(LatentConfig.stable_diffusion(unet.config["num_modalities"]))
        self.codec_config = from_dict(LatentConfig, latents, "latent_config")
        if self.codec_config.offset == "draft" and not unet.config["draft"]:
            raise ValueError("latent_config: its offset is draft, which the U-Net does not take")
        self.defaults = from_dict(GenerationConfig, generation_config or {}, "generation_config")
        self.register_to_config(
            latent_config=to_dict(self.codec_config), generation_config=to_dict(self.defaults)
        )

    def register_modules(self, **kwargs: Any) -> None:
        """Register components as diffusers does, our own classes as ("idol", class): no file has a name."""
        super().register_modules(**kwargs)
        ours = {name: type(value).__name__ for name, value in kwargs.items() if _is_ours(type(value))}
        self.register_to_config(**{name: ("idol", kind) for name, kind in ours.items()})

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """Read model_index.json; our classes are found by name alone, wherever their files lay."""
        found = super().load_config(*args, **kwargs)
        index = found[0] if isinstance(found, tuple) else found
        names = {kind.__name__ for kind in COMPONENTS if _is_ours(kind)}
        for name, entry in index.items():
            if isinstance(entry, (list, tuple)) and len(entry) == 2 and entry[1] in names:
                index[name] = ["idol", entry[1]]
        if isinstance(index.get("latent_config"), dict):
            index["latent_config"] = {_RENAMED.get(k, k): v for k, v in index["latent_config"].items()}
        return found

    @property
    def networks(self) -> list[nn.Module]:
        """Everything that has weights."""
        return [component for component in self.components.values() if isinstance(component, nn.Module)]

    @property
    def codec(self) -> LatentCodec:
        """Pixels to latents and back."""
        return LatentCodec(self.vae, self.codec_config)

    @classmethod
    def from_pretrained(cls, name: str | Path = "mini", **kwargs: Any) -> "IdolPipeline":  # type: ignore[override]
        """Load a checkpoint; only safetensors, every tensor accounted for, never code.

        Args:
            name: A checkpoint that comes with the package ("mini"), a folder, or a hub id.
            **kwargs: As of `DiffusionPipeline.from_pretrained`; weights are float32 unless `dtype` differs.

        Raises:
            UserError: If there is no such checkpoint, it cannot be fetched, or its files are not in order.
        """
        kwargs = {"use_safetensors": True, **kwargs}
        found = find_checkpoint(name)
        folder = found if isinstance(found, Path) else download_checkpoint(cls, found, kwargs)
        check_checkpoint(folder, cls.__name__, {c.__name__: c for c in COMPONENTS})
        return super().from_pretrained(str(folder), **kwargs)

    def __call__(
        self,
        foreground: Any,
        foreground_mask: Any,
        background: Any,
        pose: Any,
        *,
        foreground_pose: Pose | Sequence[Pose] | None = None,
        video: Any = None,
        depth: Tensor | np.ndarray | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        height: int | None = None,
        width: int | None = None,
        window: int | None = None,
        overlap: int | None = None,
        detail: Detail | None = None,
        decode_chunk: int = 8,
        output_type: Literal["pt", "np"] = "pt",
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        return_dict: bool = True,
    ) -> IdolOutput | tuple[Any, ...]:
        """Generate clips. Images may be PIL images, uint8 arrays or float tensors (`conditions.as_images`).

        Args:
            foreground: Image of each person, (b, 3, h, w) or one (3, h, w), any size.
            foreground_mask: Where the person is, of the same size.
            background: (b, 3, h, w), or (b, f, 3, h, w) if the camera moves; resized to cover the frame. One
                serves all clips.
            pose: `Pose` of each clip, or skeleton images (b, f, 3, height, width) in [0, 1].
            foreground_pose: The person's joints in the foreground image, one frame each; None draws none.
            video: The finished video (b, f, 3, height, width): only its depth is generated.
            depth: The finished depth (b, f, height, width) in [0, 1]: only its video is generated.
            num_inference_steps: Denoising steps; the checkpoint's default when None, and so the next ones.
            guidance_scale: Classifier-free guidance on the foreground; 1 is none and twice as fast.
            generator: Of the noise: one per clip (then a clip does not depend on its batch), or one for all.
            height: Of the frames, pixels.
            width: Of the frames, pixels.
            window: Frames denoised at a time.
            overlap: Frames shared by neighboring windows.
            detail: What becomes of known detail (`model.detail`).
            decode_chunk: Frames whose pixels are worked on at a time.
            output_type: Torch tensors or numpy arrays.
            callback_on_step_end: Called as (pipeline, step, time, {"latents": ..., "decode": ...}) after a
                step, as in diffusers; `decode` shows a slice of frames as they are by now, (b, m, n, 3, h, w)
                in [-1, 1]. May return {"latents": ...} to replace them.
            callback_on_step_end_tensor_inputs: What it is given beside `decode`: ("latents",), or () where it
                does not look at them, which are then never there for a whole clip.
            return_dict: Return `IdolOutput` rather than a tuple.

        Raises:
            UserError: If inputs do not have the right form or do not belong together.
            ValueError: If the callback is to be given anything else.
        """
        asked: dict[str, Any] = {"height": height, "width": width, "num_inference_steps": num_inference_steps}
        asked |= {"guidance_scale": guidance_scale, "window": window, "overlap": overlap, "detail": detail}
        parts = self.stream(
            foreground,
            foreground_mask,
            background,
            pose,
            foreground_pose=foreground_pose,
            video=video,
            depth=depth,
            generator=generator,
            decode_chunk=decode_chunk,
            callback_on_step_end=callback_on_step_end,
            callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
            **asked,
        )
        output = joined(list(parts))
        if output_type == "np":
            output = as_numpy(output)
        return output if return_dict else (output.video, output.depth, output.latents)

    @torch.no_grad()
    def stream(
        self,
        foreground: Any,
        foreground_mask: Any,
        background: Any,
        pose: Any,
        *,
        foreground_pose: Pose | Sequence[Pose] | None = None,
        video: Any = None,
        depth: Tensor | np.ndarray | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        decode_chunk: int = 8,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        progress: Callable[[int, int], None] = unheard,
        **asked: Any,
    ) -> Iterator[IdolOutput]:
        """What calling makes, `decode_chunk` frames after the other, for clips of any length.

        Of a long clip, memory holds what belongs to a few frames, pixels and latents alike
        (`model.frame_store`). `progress` is called with (done, total) as denoising goes on: the windows of
        all steps and, where there are several, a look at the depth that came out of them, part by part. The
        other arguments are those of the call, `asked` its fields of `GenerationConfig`.

        Raises:
            UserError: As of the call.
        """
        # 1. Settings
        if not set(callback_on_step_end_tensor_inputs) <= set(self._callback_tensor_inputs):
            raise ValueError(f"callback_on_step_end_tensor_inputs: choose of {self._callback_tensor_inputs}")
        settings = self._settings(asked)
        height, width = settings.height, settings.width
        how = settings.guidance_scale, settings.window, settings.overlap, self.background_control
        denoiser, codec, device = Denoiser(self.unet, self.control, *how), self.codec, self._execution_device

        # 2. Inputs
        person = foreground, foreground_mask, foreground_pose
        size, margin = settings.foreground_size, settings.foreground_margin
        people = crop_people(*person, size, margin, settings.drawing).to(device)
        b, m = people.image.shape[0], self.unet.config["num_modalities"]
        sequence = FrameSequence.of(b, pose, background, settings)
        if self.unet.config["draft"]:
            sequence = replace(sequence, dolls=cut_dolls(*person, settings))
        f, parts = sequence.frames, list(parts_of(sequence.frames, decode_chunk))

        # 3. What does not change over the steps
        plate_latents = encode_plates(codec, sequence, parts, device)
        draft_latents = encode_drafts(codec, sequence, parts, device)
        reference = draft_latents if self.codec_config.offset == "draft" else plate_latents
        assert reference is not None, "the U-Net takes drafts"
        given = encode_given(codec, video, depth, reference, (b, m, f, height, width), parts, device)
        tokens = self._tokens(people)
        poses = (self._pose_input(sequence.skeletons(part).to(device)) for part in parts)
        guided = settings.guidance_scale != 1
        unconditional = self.foreground_encoder.unconditional(tokens) if guided else None
        with settings.precision(device):
            conditions = denoiser.prepare(tokens, unconditional, plate_latents, poses, parts, draft_latents)

        # 4. Noise
        rows, columns = height // codec.downscale, width // codec.downscale
        scale = getattr(self.scheduler, "init_noise_sigma", 1.0)
        latents = noise_of((b, m, f, codec.channels, rows, columns), parts, generator, scale, device)

        # 5. Denoising: what is finished of a step takes the place of the step before
        set_steps(self.scheduler, settings.num_inference_steps, device)
        windows = len(denoiser.spans(f))
        made = Count(progress, windows * settings.num_inference_steps + (len(parts) if windows > 1 else 0))
        for step, t in enumerate(self.progress_bar(self.scheduler.timesteps)):

            def noisy(frames: slice) -> Tensor:
                return given.put_into(latents[frames], frames)

            with settings.precision(device):
                for frames, prediction in denoiser.predictions(noisy, f, given.times(t, b, m), conditions):
                    scheduler = copy(self.scheduler)  # it counts its steps: all frames take the same one
                    latents[frames] = scheduler.step(prediction, t, noisy(frames)).prev_sample
                    made.one_more()
            self.scheduler = scheduler
            if callback_on_step_end is not None:
                seen: dict[str, Any] = {"decode": partial(decode_frames, codec, latents, reference)}
                seen |= {name: latents[:] for name in callback_on_step_end_tensor_inputs}
                changed = callback_on_step_end(self, step, t, seen) or {}
                if "latents" in changed:
                    latents[:] = changed["latents"]

        # 6. Images
        decoder = Decoder(codec, latents, reference, sequence, given, parts)
        whole = decoder.whole_clip_depth(made.one_more) if windows > 1 else None
        return self._released(decoder.outputs(whole))

    def _released(self, outputs: Iterator[IdolOutput]) -> Iterator[IdolOutput]:
        """The outputs; after them no network is needed any more."""
        yield from outputs
        self.maybe_free_model_hooks()

    def _settings(self, asked: dict[str, Any]) -> GenerationConfig:
        """The checkpoint's defaults, overridden by what was asked for.

        Raises:
            TypeError: If there is no such setting.
            UserError: If a setting cannot be.
        """
        try:
            settings = replace(self.defaults, **{k: v for k, v in asked.items() if v is not None})
        except ValueError as error:
            raise UserError("window", str(error), "change window or overlap") from error
        multiple = self.codec.downscale * 2 ** (len(self.unet.config["block_out_channels"]) - 1)
        for name in ("height", "width"):
            size = getattr(settings, name)
            if size < multiple or size % multiple:
                raise UserError(f"--{name}", f"{size} pixels", f"give a multiple of {multiple}")
        if settings.num_inference_steps < 1:
            raise UserError("--steps", f"{settings.num_inference_steps}", "give at least 1")
        return settings

    def _pose_input(self, skeletons: Tensor) -> Tensor | None:
        """What the pose control takes: skeleton images, their latents, or nothing."""
        if isinstance(self.control, PoseControlNet) and self.control.config["pose_input"] == "latent":
            return self.codec.encode_image(skeletons * 2 - 1)
        return None if self.control is None else skeletons

    def _tokens(self, people: People) -> Tensor:
        if isinstance(self.foreground_encoder, CLIPForeground):
            return self.foreground_encoder(people.image, people.mask)
        latents = self.codec.encode_image(people.image * 2 - 1)
        dtype = self.foreground_encoder.dtype
        return self.foreground_encoder(latents.to(dtype), people.pose.to(dtype), people.mask.to(dtype))


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith("idol.")
