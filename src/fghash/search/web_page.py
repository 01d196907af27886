"""A small local page to try an index: a query image in, what is found out, beside another index if wanted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fghash.api import LoadedRun
from fghash.codes import BinaryCodes, QuantizedCodes
from fghash.data.images.decoding import read_image
from fghash.display import harmless
from fghash.errors import InputError
from fghash.optional import import_package
from fghash.search.contact_sheet import part_of_page, sheet_rows
from fghash.search.engines import Engine, build_engine
from fghash.search.image_lists import ImageSource
from fghash.search.index_folder import SearchIndex
from fghash.search.item_images import ReadImage, images_of_queries, reader
from fghash.search.searching import Queries, at_length, class_of, query_encoder, search, vector_encoder

_EXAMPLES = 12
_RERANKED = 100
_HEAD = """## fghash: search by image
Upload an image or pick one. Solid green: the query's class; dashed red: another one; grey: not known. The
number is the distance, smaller = closer."""

Pixels = NDArray[np.uint8]
Example = tuple[Pixels, str]  # an image and its class


@dataclass
class Searcher:
    """An index with all that a page asks of it.

    Args:
        index: that is opened.
        encoder: of queries.
        vectors: encoder of the vectors for re-ranking, if the index has some.
        read: gives an item's image by id.
    """

    index: SearchIndex
    encoder: LoadedRun
    vectors: LoadedRun | None
    read: ReadImage
    _shorter: dict[int, SearchIndex] = field(default_factory=dict)

    @classmethod
    def of(cls, index: SearchIndex, run: str | None = None) -> Searcher:
        """Everything loaded.

        Raises:
            InputError: the run that encodes queries is gone, or has other weights.
        """
        encoder = query_encoder(index, run)
        vectors = vector_encoder(index, encoder) if index.manifest.vectors else None
        return cls(index, encoder, vectors, reader(index))

    @property
    def lengths(self) -> list[int]:
        """Code lengths to choose from, the index's own first."""
        codes = self.index.items.codes
        bits = codes.bits_per_item
        if isinstance(codes, QuantizedCodes) and codes.structure == "additive":
            step = bits // len(codes.codebooks)
            return list(range(bits, 0, -step))
        if isinstance(codes, BinaryCodes):
            return [bits, *(part for part in (3 * bits // 4, bits // 2, bits // 4) if part >= 4)]
        return [bits]

    def find(self, image: Pixels, wanted: str, bits: int, top: int, rerank: bool) -> str:
        """The nearest items as a part of a page; ``wanted`` is the class of the query, empty if not known."""
        codes = at_length(self.encoder.encode([image], queries=True), bits)
        real = self.vectors.embed([image]) if rerank and self.vectors is not None else None
        queries = Queries(("query",), codes, real, (wanted,))
        results = search(self._at(bits), queries, top, max(top, _RERANKED) if rerank else None)
        (row,) = sheet_rows(results, [None], self.read)
        return part_of_page(row[1:])

    def _at(self, bits: int) -> SearchIndex:
        """The index at a shorter length of its codes."""
        own = self.index.items.codes
        if bits == own.bits_per_item:
            return self.index
        if bits not in self._shorter:
            codes = own.prefix(bits)
            exact: Engine = build_engine(codes, "flat" if isinstance(codes, BinaryCodes) else "exact")
            items = replace(self.index.items, codes=codes)
            self._shorter[bits] = replace(self.index, items=items, engine=exact)
        return self._shorter[bits]


def page(searchers: Sequence[Searcher], examples: Sequence[Example] = ()) -> Any:
    """The page, a Gradio Blocks that is not running yet.

    Args:
        searchers: one, or two side by side.
        examples: images to pick from, with their classes (empty where not known).

    Raises:
        InputError: gradio is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    gr = import_package("gradio", "demo", "demo")
    with gr.Blocks(title="fghash demo", fill_width=True) as blocks:
        gr.Markdown(_HEAD)
        wanted = gr.State("")
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                image = gr.Image(type="numpy", format="png", label="query", height=260, elem_id="query")
                label = gr.Markdown("", elem_id="wanted")
                top = gr.Slider(1, 50, value=10, step=1, label="items", elem_id="top")
                tiles = [(pixels, name or f"{i}") for i, (pixels, name) in enumerate(examples, start=1)]
                picked = gr.Gallery(
                    tiles, label="queries to pick from", columns=2, height=360, allow_preview=False,
                    elem_id="examples", visible=bool(examples),
                )  # fmt: skip
            for number, searcher in enumerate(searchers):
                with gr.Column(scale=2, min_width=320):
                    _column(gr, number, searcher, [image, wanted], top)
        picked.select(_picker(gr, examples), None, [wanted, label, image])
        gr.on([image.upload, image.clear], lambda: ("", ""), None, [wanted, label])
    return blocks


def _picker(gr: Any, examples: Sequence[Example]) -> Any:
    def pick(event: Any) -> tuple[str, str, Pixels]:
        pixels, name = examples[int(event.index)]
        return name, f"class: {harmless(name)}" if name else "", pixels

    pick.__annotations__["event"] = gr.SelectData  # how gradio finds out what to pass
    return pick


def _column(gr: Any, number: int, searcher: Searcher, query: list[Any], top: Any) -> None:
    """Controls and results of one index."""
    about = searcher.index.manifest
    made = f"{about.facts.get('method', 'codes')}, {about.structure}, {about.items:,} items"
    gr.Markdown(f"**{harmless(searcher.index.folder.name)}**: {made}")
    lengths = [(f"{bits} bits", bits) for bits in searcher.lengths]
    with gr.Row():
        bits = gr.Dropdown(lengths, value=lengths[0][1], label="code length", elem_id=f"bits{number}")
        rerank = gr.Checkbox(
            False, label=f"re-rank the best {_RERANKED} by real vectors", elem_id=f"rerank{number}",
            interactive=searcher.vectors is not None,
        )  # fmt: skip
    found = gr.HTML(elem_id=f"found{number}")

    def answer(pixels: Pixels | None, wanted: str, length: int, count: int, again: bool) -> str:
        if pixels is None:
            return ""
        try:
            image = np.ascontiguousarray(pixels[..., :3])
            return searcher.find(image, str(wanted), int(length), int(count), bool(again))
        except InputError as error:
            raise gr.Error(str(error)) from error

    events = [query[0].change, bits.change, top.release, rerank.change]
    gr.on(events, answer, [*query, bits, top, rerank], found, show_progress="minimal")


def launch(blocks: Any, host: str, port: int | None, block: bool = True) -> str:
    """Serve the page; its address. Nobody else's machine is asked for anything.

    Raises:
        InputError: the port is taken.
    """
    gr = import_package("gradio", "demo", "demo")
    plain = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    try:
        _, address, _ = blocks.launch(
            server_name=host, server_port=port, share=False, quiet=True, prevent_thread_lock=True,
            theme=plain, enable_monitoring=False,
        )  # fmt: skip
    except OSError as error:
        reason = (
            f"no free port on {host}" if port is None else f"{port} is taken on {host}, expected a free one"
        )
        raise InputError(f"--port: {reason}") from error
    if block:
        print(f"serving {address} (Ctrl-C ends it)", flush=True)
        blocks.block_thread()
    return str(address)


def examples_of(searcher: Searcher, sources: Sequence[ImageSource] = ()) -> list[Example]:
    """Images to pick from: those given, else queries of the run's data set where it is on this machine."""
    if sources:
        chosen = sources[:_EXAMPLES]
        return [(read_image(each.open(), 160), class_of(each, searcher.index)) for each in chosen]
    return images_of_queries(searcher.encoder, _EXAMPLES)
