"""The page of `ecdm app`: paint over a part of a picture, say what should be there, compare the variants."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import numpy as np
import torch
from numpy.typing import NDArray

from ecdm.serving.export import open_model
from ecdm.serving.manifest import LARGEST_SEED
from ecdm.serving.picture import Picture, inpaint_picture

BRUSH, BRUSH_RADIUS = ("#e5007d", 0.7), 8
# Browsers hold integers exactly up to here; drawn ones stay short enough to be read out.
SHOWN_SEED, DRAWN_SEED = 2**53 - 1, 10**6
Number = TypeVar("Number", int, float)
OWN = "each model's own"
SYSTEM_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
CSS = """
.gradio-container {width: 100% !important; max-width: 1240px !important; margin: 0 auto !important;}
#title h1 {margin: .4em 0 0; font-size: 1.7rem;}
#title p {color: var(--body-text-color-subdued); margin: .2em 0 .4em;}
#examples-title p {color: var(--body-text-color-subdued); font-size: var(--text-sm); margin: 0;}
#examples {border: 0; background: none; padding: 0; min-height: 0 !important;}
#examples .grid-wrap {min-height: 0 !important; height: auto !important; padding: 0;}
#examples .grid-container {
  grid-template-columns: repeat(5, minmax(0, 1fr)) !important;
  grid-auto-rows: auto !important;
}
#examples .thumbnail-item {min-width: 0 !important; width: 100%; height: auto !important; aspect-ratio: 1;}
#results {display: grid; grid-template-columns: 1fr 1fr; gap: 12px;}
#results .block {padding: 0;}
#results label[data-testid="block-label"] {position: static; padding: 8px 10px 6px; box-shadow: none; border: 0;}
#results .image-container, #results .image-frame, #results button {width: 100%; height: auto; display: block;}
#results .image-frame img {width: 100%; height: auto; object-fit: contain;}
#seed-row {align-items: end;}
#new-seed {flex-grow: 0; min-width: 9em; margin-bottom: 10px;}
footer {display: none !important;}
@media (max-width: 640px) {
  .gradio-container, .gradio-container .main {padding: 8px !important;}
  #title h1 {font-size: 1.35rem;}
}
"""


@dataclass(frozen=True)
class Example:
    """A picture to try, RGB, uint8 (h, w, 3), and the prompt that comes with it."""

    picture: NDArray[np.uint8]
    prompt: str


def build_app(models: Mapping[str, Path], examples: Sequence[Example], device: torch.device) -> gr.Blocks:
    """The page for models, name → folder as `open_model` takes it, each read when it is first asked for."""
    with gr.Blocks(title="Inpainting", analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.Markdown("# Inpainting\nPaint over a part of a picture and say what should be there.", elem_id="title")
        with gr.Row():
            with gr.Column(min_width=320):
                editor = _editor()
                gr.Markdown("Or start from one of these:", visible=bool(examples), elem_id="examples-title")
                gallery = _gallery(examples)
            with gr.Column(min_width=320):
                prompt = gr.Textbox(label="Prompt", placeholder="a blue circle on a wooden table", elem_id="prompt")
                names = list(models)
                chosen = gr.CheckboxGroup(names, value=names, label="Models, side by side", elem_id="models")
                with gr.Row(elem_id="seed-row"):
                    seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=SHOWN_SEED, elem_id="seed")
                    draw = gr.Button("New seed", elem_id="new-seed")
                with gr.Accordion("Sampling", open=False), gr.Row():
                    # Not gr.Number, which shows an empty value as 0.
                    steps, guidance = (gr.Textbox("", label=name, placeholder=OWN) for name in ("Steps", "Guidance"))
                start = gr.Button("Inpaint", variant="primary", size="lg", elem_id="start")
                with gr.Column(elem_id="results"):
                    outputs = [_result(name) for name in names]
        asked = [editor, prompt, chosen, seed, steps, guidance]
        run = _runner(models, device)
        for event in (start.click, prompt.submit):
            event(run, asked, outputs, concurrency_limit=1, concurrency_id="model", api_visibility="private")
        draw.click(lambda: secrets.randbelow(DRAWN_SEED), None, seed, api_visibility="private")
        if examples:
            gallery.select(_picker(examples), None, [editor, prompt], api_visibility="private")
    return page


def theme() -> gr.themes.Base:
    """Quiet colours and the fonts of the visitor's own system, so that nothing is fetched."""
    base = gr.themes.Default(primary_hue="indigo", neutral_hue="slate", font=SYSTEM_FONT, font_mono=["ui-monospace"])
    subdued, nothing = "*body_text_color_subdued", "transparent"
    return base.set(
        body_text_color_subdued="*neutral_500",
        block_label_background_fill=nothing,
        block_label_background_fill_dark=nothing,
        block_label_border_width="0px",
        block_label_text_color=subdued,
        block_label_text_color_dark=subdued,
        block_title_text_color=subdued,
        block_title_text_color_dark=subdued,
        button_large_radius="*radius_md",
    )


def _editor() -> gr.ImageEditor:
    return gr.ImageEditor(
        label="Picture",
        type="numpy",
        image_mode="RGBA",
        format="png",
        sources=["upload", "clipboard"],
        transforms=(),
        layers=False,
        brush=gr.Brush(BRUSH_RADIUS, colors=[BRUSH], default_color=BRUSH, color_mode="fixed"),
        height=480,
        elem_id="editor",
    )


def _gallery(examples: Sequence[Example]) -> gr.Gallery:
    return gr.Gallery(
        [example.picture for example in examples],
        format="png",
        show_label=False,
        columns=5,
        height="auto",
        allow_preview=False,
        visible=bool(examples),
        buttons=[],
        elem_id="examples",
    )


def _result(name: str) -> gr.Image:
    return gr.Image(label=name, format="png", interactive=False, visible=False, buttons=["download", "fullscreen"])


def _picker(examples: Sequence[Example]) -> Callable[[gr.SelectData], tuple[Any, str]]:
    def pick(event: gr.SelectData) -> tuple[Any, str]:
        example = examples[event.index]
        return {"background": example.picture, "layers": [], "composite": None}, example.prompt

    return pick


def _runner(models: Mapping[str, Path], device: torch.device) -> Callable[..., Iterator[list[Any]]]:
    load = lru_cache(maxsize=len(models))(partial(open_model, device=device))

    def run(drawing: Any, prompt: str, chosen: Sequence[str], seed: int | None, steps: str | None, guidance: str | None,
            progress: gr.Progress = gr.Progress()) -> Iterator[list[Any]]:  # noqa: B008  # fmt: skip
        """Fill with one model after the other; each result shows up as soon as it is there."""
        picture, hole = painted(drawing)
        if not chosen:
            raise gr.Error("Choose at least one model.", print_exception=False)
        if not (prompt or "").strip():
            raise gr.Error("Type what should be in the painted part.", print_exception=False)
        if seed is None or not 0 <= seed <= min(SHOWN_SEED, LARGEST_SEED):
            raise gr.Error(f"The seed must be a whole number from 0 to {SHOWN_SEED}.", print_exception=False)
        sampling = _number(steps, "Steps", int), _number(guidance, "Guidance", float)
        shown: dict[str, Any] = {name: gr.skip() if name in chosen else gr.Image(visible=False) for name in models}
        for number, name in enumerate(models):
            if name not in chosen:
                continue

            def show(done: int, crops: int, name: str = name, at: int = number) -> None:
                progress((at + done / crops) / len(models), desc=name)

            progress(number / len(models), desc=name)
            try:
                found = inpaint_picture(load(models[name]), picture, hole, prompt, seed, *sampling, show)
            except (ValueError, FileNotFoundError) as error:
                raise gr.Error(f"{name}: {error}", print_exception=False) from error
            shown[name] = gr.Image(_stacked(found), label=f"{name} · seed {seed}", visible=True)
            yield list(shown.values())

    return run


def _number(text: str | None, name: str, kind: type[Number]) -> Number | None:
    """What a field holds, None where it is empty; gr.Error, which the page shows, for other text."""
    try:
        return kind(text) if text and text.strip() else None
    except ValueError as error:
        message = f"{name}: found {text}, expected a number, or nothing for each model's own."
        raise gr.Error(message, print_exception=False) from error


def painted(drawing: Any) -> tuple[Picture, NDArray[np.bool_]]:
    """The picture of the editor's value and its hole, bool (h, w): what any layer paints over.

    Raises: gr.Error, which the page shows, where either is missing.
    """
    if not drawing or drawing.get("background") is None:
        raise gr.Error("Upload a picture first, or choose one of the examples.", print_exception=False)
    pixels: NDArray[np.uint8] = drawing["background"]
    alpha = None if (pixels[..., 3] == 255).all() else pixels[..., 3]
    hole = np.zeros(pixels.shape[:2], bool)
    for layer in drawing["layers"]:
        hole |= layer[..., 3] >= 128
    if not hole.any():
        raise gr.Error("Paint over the part of the picture that is to be filled.", print_exception=False)
    return Picture(np.ascontiguousarray(pixels[..., :3]), alpha), hole


def _stacked(picture: Picture) -> NDArray[np.uint8]:
    return picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
