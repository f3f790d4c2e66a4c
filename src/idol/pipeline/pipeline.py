"""The pipeline: an image of a person, a background and a motion to a video and its depth (Secs. 3 and 4)."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from idol.clip import Pose
from idol.config import from_dict, to_dict
from idol.diffusion.latents import LatentCodec, LatentConfig
from idol.diffusion.schedule import set_timesteps
from idol.errors import UserError
from idol.model import PoseAdapter, PoseControlNet, UnifiedUNet
from idol.model.autoencoder import Autoencoder
from idol.model.checkpoints import check_checkpoint, download_checkpoint, find_checkpoint
from idol.model.encoders import CLIPForeground, LatentForeground
from idol.pipeline.compositing import Detail
from idol.pipeline.config import GenerationConfig, IdolOutput, as_numpy, concatenate
from idol.pipeline.decoder import Decoder, decode_frames
from idol.pipeline.denoiser import Conditions, Denoiser
from idol.pipeline.disk_tensor import FrameStore, PerFrame, split_frames
from idol.pipeline.inputs import PersonCrops, PipelineInputs, encode_backgrounds, encode_drafts
from idol.pipeline.known_modality import encode_known
from idol.pipeline.sampler import Sampler, initial_noise
from idol.progress import SILENT, ProgressCallback, StepCounter

COMPONENTS: tuple[type, ...] = (
    Autoencoder,
    AutoencoderKL,
    CLIPForeground,
    LatentForeground,
    PoseAdapter,
    PoseControlNet,
    UnifiedUNet,
)
_OURS = {kind.__name__ for kind in COMPONENTS if kind.__module__.startswith("idol.")}
Scheduler = DDIMScheduler | FlowMatchEulerDiscreteScheduler
Callback = Callable[["IdolPipeline", int, Tensor, dict[str, Any]], Any]


class IdolPipeline(DiffusionPipeline):
    """Generates a video and its depth together.

    Args:
        vae: Autoencoder of both modalities.
        unet: The unified U-Net.
        control: Network through which the pose enters; None without pose control.
        foreground_encoder: Encodes the person's crop as tokens.
        scheduler: diffusers' DDIM or Euler flow-matching scheduler.
        background_control: ControlNet through which the background enters, where the U-Net leaves it to one.
        latent_config: Fields of `LatentConfig`; Stable Diffusion's when None.
        generation_config: Fields of `GenerationConfig`; its defaults when None.

    Raises:
        ValueError: If the U-Net leaves the background to a ControlNet and there is none, or the reverse; if
            drafts are the latent reference and the U-Net takes none.
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
            raise ValueError(
                'background_control: give one exactly if the U-Net\'s background is "controlnet"'
            )
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
        if self.codec_config.latent_reference == "draft" and not unet.config["draft"]:
            raise ValueError("latent_config: its latent_reference is draft, but the U-Net takes no drafts")
        self.defaults = from_dict(GenerationConfig, generation_config or {}, "generation_config")
        self.register_to_config(
            latent_config=to_dict(self.codec_config), generation_config=to_dict(self.defaults)
        )

    def register_modules(self, **kwargs: Any) -> None:
        """Register components as diffusers does, our own classes as ("idol", class) without a module path."""
        super().register_modules(**kwargs)
        kinds = {name: type(value).__name__ for name, value in kwargs.items()}
        self.register_to_config(**{name: ("idol", kind) for name, kind in kinds.items() if kind in _OURS})

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """Read model_index.json, also of earlier versions: module paths, former names of fields."""
        loaded = super().load_config(*args, **kwargs)
        index = loaded[0] if isinstance(loaded, tuple) else loaded
        # diffusers would import the module of an entry: ours name the package alone
        for name, entry in index.items():
            if isinstance(entry, (list, tuple)) and len(entry) == 2 and entry[1] in _OURS:
                index[name] = ["idol", entry[1]]
        if isinstance(index.get("latent_config"), dict):
            index["latent_config"] = LatentConfig.upgrade(index["latent_config"])
        return loaded

    @property
    def networks(self) -> list[nn.Module]:
        """All components that have weights."""
        return [component for component in self.components.values() if isinstance(component, nn.Module)]

    @property
    def codec(self) -> LatentCodec:
        """Pixels to latents and back."""
        return LatentCodec(self.vae, self.codec_config)

    @property
    def produces_depth(self) -> bool:
        """Whether outputs have depth: from the U-Net, or decoded from latents that hold it (LDM3D)."""
        return self.unet.produces_depth or self.codec.stacked

    @classmethod
    def from_pretrained(cls, name: str | Path = "mini", **kwargs: Any) -> "IdolPipeline":  # type: ignore[override]
        """Load a checkpoint: safetensors only, never code, and no tensor may be missing or left over.

        Args:
            name: A checkpoint that comes with the package ("mini"), a folder, or a hub id.
            **kwargs: Those of `DiffusionPipeline.from_pretrained`; weights are float32 unless `dtype` says
                otherwise.

        Raises:
            UserError: If there is no such checkpoint, it cannot be fetched, or its files are broken.
        """
        kwargs = {"use_safetensors": True, **kwargs}
        source = find_checkpoint(name)
        folder = source if isinstance(source, Path) else download_checkpoint(cls, source, kwargs)
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
        """Generate clips. Images may be PIL images, uint8 arrays or float tensors (`image_inputs.as_images`).

        Args:
            foreground: Image of each person, (b, 3, h, w) or one (3, h, w), any size.
            foreground_mask: Where the person is, of the same size.
            background: (b, 3, h, w), or (b, f, 3, h, w) if the camera moves; resized to cover the frame. One
                is used for all clips.
            pose: `Pose` of each clip, or skeleton images (b, f, 3, height, width) in [0, 1].
            foreground_pose: The person's joints in the foreground image, one frame each; None draws none.
            video: The known video (b, f, 3, height, width): only its depth is generated.
            depth: The known depth (b, f, height, width) in [0, 1]: only its video is generated.
            num_inference_steps: Denoising steps, at least 1. None is the checkpoint's default, here and for
                `guidance_scale`, `height`, `width`, `window`, `overlap` and `detail`.
            guidance_scale: Scale of classifier-free guidance on the foreground, at least 0; 1 is none and
                twice as fast.
            generator: Of the noise: one per clip (then a clip does not depend on its batch), or one for all.
            height: Of the frames, pixels.
            width: Of the frames, pixels.
            window: Frames denoised at a time.
            overlap: Frames shared by neighboring windows.
            detail: How known detail is used (`idol.pipeline.compositing`).
            decode_chunk: Frames whose pixels are processed at a time.
            output_type: Torch tensors or numpy arrays.
            callback_on_step_end: Called as (pipeline, step, timestep, {"latents": ..., "decode": ...}) after
                a step, as in diffusers; `decode` returns a slice of frames in their present state,
                (b, m, n, 3, h, w) in [-1, 1]. May return {"latents": ...} to replace them.
            callback_on_step_end_tensor_inputs: What it receives beside `decode`: ("latents",), or () to save
                the memory of a whole clip's latents.
            return_dict: Return `IdolOutput` rather than a tuple.

        Raises:
            UserError: If inputs do not have the right form or do not belong together.
            ValueError: If `callback_on_step_end_tensor_inputs` holds anything else.
        """
        if output_type not in ("pt", "np"):
            raise UserError("output_type", repr(output_type), 'give "pt" or "np"')
        options: dict[str, Any] = {
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
        }
        options |= {"height": height, "width": width, "window": window, "overlap": overlap, "detail": detail}
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
            **options,
        )
        output = concatenate(list(parts))
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
        progress: ProgressCallback = SILENT,
        **options: Any,
    ) -> Iterator[IdolOutput]:
        """Generate clips of any length: denoise now, and decode `decode_chunk` frames for each output.

        Pixels and latents of a long clip are on disk but for a few frames (`idol.pipeline.disk_tensor`).

        Args:
            foreground: See `__call__`.
            foreground_mask: See `__call__`.
            background: See `__call__`.
            pose: See `__call__`.
            foreground_pose: See `__call__`.
            video: See `__call__`.
            depth: See `__call__`.
            generator: See `__call__`.
            decode_chunk: See `__call__`.
            callback_on_step_end: See `__call__`.
            callback_on_step_end_tensor_inputs: See `__call__`.
            progress: Its `step` counts the windows of all denoising steps and, where there are several
                windows, the parts of the clip whose depth is normalized.
            **options: Fields of `GenerationConfig`, e.g. `guidance_scale`.

        Raises:
            UserError: See `__call__`.
        """
        # 1. Settings
        if decode_chunk < 1:
            raise UserError("decode_chunk", str(decode_chunk), "give at least 1")
        if not set(callback_on_step_end_tensor_inputs) <= set(self._callback_tensor_inputs):
            raise ValueError(
                f"callback_on_step_end_tensor_inputs: choose from {self._callback_tensor_inputs}"
            )
        settings, codec, device = self.resolve_settings(**options), self.codec, self._execution_device
        denoiser = Denoiser(self.unet, self.control, self.background_control)
        sampler = Sampler(denoiser, settings.guidance_scale, settings.window, settings.overlap)

        # 2. Inputs
        person, drafted = (foreground, foreground_mask, foreground_pose), self.unet.config["draft"]
        inputs = PipelineInputs.prepare(*person, background, pose, settings, drafted)
        b, m, f = inputs.b, self.unet.config["num_modalities"], inputs.frames
        parts = list(split_frames(f, decode_chunk))

        # 3. What does not change over the steps
        backgrounds = encode_backgrounds(codec, inputs, parts, device)
        drafts = encode_drafts(codec, inputs, parts, device)
        reference = drafts if self.codec_config.latent_reference == "draft" else backgrounds
        assert reference is not None, "the U-Net takes drafts"
        shape = b, m, f, settings.height, settings.width
        known = encode_known(codec, video, depth, reference, shape, parts, device)
        conditions = self._conditions(sampler, inputs, backgrounds, drafts, parts)

        # 4. Noise
        rows, columns = settings.height // codec.downscale, settings.width // codec.downscale
        scale = getattr(self.scheduler, "init_noise_sigma", 1.0)
        latents = initial_noise((b, m, f, codec.channels, rows, columns), parts, generator, scale, device)

        # 5. Denoising, in place
        set_timesteps(self.scheduler, settings.num_inference_steps, device)
        windows = len(sampler.windows(f))
        total = windows * settings.num_inference_steps + (len(parts) if windows > 1 else 0)
        counter = StepCounter(progress, total)
        precision = partial(settings.precision, device)
        steps = sampler.steps(
            self.scheduler, latents, conditions, known, precision=precision, window_done=counter.advance
        )
        with self.progress_bar(total=settings.num_inference_steps) as bar:
            for step, t in steps:
                bar.update()
                if callback_on_step_end is not None:
                    state: dict[str, Any] = {"decode": partial(decode_frames, codec, latents, reference)}
                    state |= {name: latents[:] for name in callback_on_step_end_tensor_inputs}
                    changed = callback_on_step_end(self, step, t, state) or {}
                    if "latents" in changed:
                        latents[:] = changed["latents"]

        # 6. Images
        decoder = Decoder(codec, latents, reference, inputs, known, parts)
        whole = decoder.whole_clip_depth(counter.advance) if windows > 1 else None
        return self._released(decoder.outputs(whole))

    def _conditions(
        self,
        sampler: Sampler,
        inputs: PipelineInputs,
        backgrounds: PerFrame,
        drafts: FrameStore | None,
        parts: list[slice],
    ) -> Conditions[PerFrame]:
        device = self._execution_device
        tokens = self._tokens(inputs.persons.to(device))
        unconditional = self.foreground_encoder.unconditional(tokens) if sampler.guided else None
        skeletons = (inputs.skeletons(part).to(device) for part in parts)
        if sampler.denoiser.reads_latent_pose:
            skeletons = (self.codec.encode_image(images * 2 - 1) for images in skeletons)
        with inputs.settings.precision(device):
            return sampler.prepare(tokens, unconditional, backgrounds, skeletons, parts, drafts)

    def _released(self, outputs: Iterator[IdolOutput]) -> Iterator[IdolOutput]:
        """Yield the outputs, then let diffusers offload the networks."""
        yield from outputs
        self.maybe_free_model_hooks()

    def resolve_settings(self, **options: Any) -> GenerationConfig:
        """Return the checkpoint's defaults, overridden by options that are not None and checked.

        Args:
            **options: Fields of `GenerationConfig`, e.g. `guidance_scale`; None is the default.

        Raises:
            TypeError: If there is no such setting.
            UserError: If a setting is out of range.
        """
        try:
            settings = replace(self.defaults, **{k: v for k, v in options.items() if v is not None})
        except ValueError as error:
            raise UserError("window", str(error), "change `window` or `overlap`") from error
        # every level of the U-Net but the last halves the latents
        multiple = self.codec.downscale * 2 ** (len(self.unet.config["block_out_channels"]) - 1)
        for name in ("height", "width"):
            size = getattr(settings, name)
            if size < multiple or size % multiple:
                raise UserError(name, f"{size} pixels", f"give a multiple of {multiple}")
        if settings.num_inference_steps < 1:
            raise UserError("num_inference_steps", str(settings.num_inference_steps), "give at least 1")
        if not (math.isfinite(settings.guidance_scale) and settings.guidance_scale >= 0):
            raise UserError("guidance_scale", str(settings.guidance_scale), "give a number of at least 0")
        if settings.detail not in get_args(Detail):
            raise UserError("detail", repr(settings.detail), f"give one of {', '.join(get_args(Detail))}")
        return settings

    def _tokens(self, persons: PersonCrops) -> Tensor:
        """Return the foreground tokens (b, n, d)."""
        if isinstance(self.foreground_encoder, CLIPForeground):
            return self.foreground_encoder(persons.image, persons.mask)
        latents = self.codec.encode_image(persons.image * 2 - 1)
        dtype = self.foreground_encoder.dtype
        return self.foreground_encoder(latents.to(dtype), persons.pose.to(dtype), persons.mask.to(dtype))
