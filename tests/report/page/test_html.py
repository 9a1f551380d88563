"""The page is self-contained, valid HTML, and runs no foreign script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import Browser, browser
from report_examples import TEXTS, Row, make_figures

from clsbench.components.catalog import Catalog, load_catalog
from clsbench.report.page.content import build_page
from clsbench.report.page.html import render

VOID = {"meta", "link", "input", "br"}
HOSTILE = '<script>window.hacked=1</script>"><img src=x onerror="window.hacked=2">\'{{ 7*7 }}</svg>'
STEERING = "\x1b[31mred\u202e\x00"


class Parsed(HTMLParser):
    """Collects elements and text, and checks that tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] not in ("script", "style"):
            self.text.append(data)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="module")
def nineteen(tmp_path_factory: pytest.TempPathFactory, catalog: Catalog) -> str:
    """The page of 19 rows with long texts."""
    rows = [
        Row(title=f"some configuration, row-{n}", accuracy=0.9 + n / 250, seconds=2.0**n / 50,
            published=0.95, modified=n % 2 == 0)
        for n in range(19)
    ]  # fmt: skip
    figures = make_figures(tmp_path_factory.mktemp("nineteen"), rows)
    return render(build_page(figures, catalog, dict.fromkeys(range(TEXTS), "some words " * 40)))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, catalog: Catalog) -> str:
    """A page whose rows, classes and texts contain markup, scripts and control characters."""
    rows = [Row(title=HOSTILE + STEERING, accuracy=share, changes={"x": HOSTILE + "\n" + STEERING})
            for share in (0.9, 0.7, 0.97)]  # fmt: skip
    figures = make_figures(
        tmp_path_factory.mktemp("hostile"), rows, class_names=(HOSTILE, "b" + HOSTILE),
        name=HOSTILE.replace("/", ""), description=HOSTILE, source=HOSTILE,
        command=("clsbench", "suite", HOSTILE + STEERING),
    )  # fmt: skip
    return render(build_page(figures, catalog, dict.fromkeys(range(TEXTS), HOSTILE + STEERING)))


def test_render_page_is_small_and_self_contained(nineteen: str) -> None:
    assert len(nineteen.encode()) < 1_000_000
    for _, attributes in Parsed(nineteen).tags:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith(("#", "data:"))
    assert not re.search(r"https?://|@import|url\(", nineteen)


def test_render_tags_are_balanced_and_ids_unique(nineteen: str, hostile: str) -> None:
    for html in (nineteen, hostile):
        parsed = Parsed(html)
        assert parsed.stack == []
        ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        pointed = {a["href"] for tag, a in parsed.tags if tag == "a"}
        assert pointed <= {f"#{name}" for name in ids}


def test_render_drawings_have_a_label_or_are_hidden(nineteen: str) -> None:
    for tag, attributes in Parsed(nineteen).tags:
        if tag == "svg":
            named = attributes.get("aria-label") or attributes.get("aria-labelledby")
            assert attributes.get("aria-hidden") == "true" or (
                attributes.get("role") == "img" and named
            )


def test_render_sortable_headings_contain_buttons(nineteen: str) -> None:
    parsed = Parsed(nineteen)
    sorted_by = [attributes for tag, attributes in parsed.tags if "aria-sort" in attributes]
    assert len(sorted_by) > 15
    heads = re.findall(r"<th[^>]*aria-sort[^>]*>(.*?)</th>", nineteen)
    assert all(head.startswith('<button type="button">') for head in heads)


def test_render_published_results_are_compared_with_unmodified_rows_only(nineteen: str) -> None:
    rows = re.findall(r"<tr[^>]*>\s*<th scope=\"row\" data-v.*?</tr>", nineteen, flags=re.DOTALL)
    assert len(rows) == 2 * 21
    differences = [row.count(" pp</td>") + row.count(" pp †</td>") for row in rows[:19]]
    # Against the best and the first row; unmodified rows also against the published result.
    assert differences[1] - differences[2] == 1


def test_render_hostile_text_is_escaped(hostile: str) -> None:
    parsed = Parsed(hostile)
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert not {"img", "iframe", "object"} & {tag for tag, _ in parsed.tags}
    assert not [name for _, a in parsed.tags for name in a if name.startswith("on")]
    text = "".join(parsed.text)
    assert "{{ 7*7 }}" in text
    assert "window.hacked" in text
    assert not {"\x1b", "\u202e", "\x00"} & set(hostile)
    assert r"\x1b[31mred\u202e\x00" in text


def test_render_page_without_rows_says_so(tmp_path: Path, catalog: Catalog) -> None:
    parsed = Parsed(render(build_page(make_figures(tmp_path, []), catalog, None)))
    assert "no row has finished" in "".join(parsed.text)


def test_render_single_run_shows_its_accuracy(tmp_path: Path, catalog: Catalog) -> None:
    row = Row(title="alone", record={"history": None, "parameters": None, "fast_path": None})
    html = render(build_page(make_figures(tmp_path, [row], baselines=()), catalog, None))
    text = "".join(Parsed(html).text)
    assert "Row 1 (alone): 95.00 %" in text
    assert "The corpus was not available" in text


def test_render_many_classes_shows_the_most_frequent_mistakes(
    tmp_path: Path, catalog: Catalog
) -> None:
    names = tuple(f"class {n}" for n in range(12))
    figures = make_figures(tmp_path, [Row(accuracy=0.5), Row()], class_names=names)
    text = "".join(Parsed(render(build_page(figures, catalog, None))).text)
    assert "The most frequent mistakes" in text
    assert "12 classes" in text


# --- in a real browser ----------------------------------------------------------------------------


def palettes(css: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Ink, paper and shade of every theme as red, green and blue."""
    themes = {}
    for theme in (":root {", ":root:not(", ":root[data"):
        block = css[css.index(theme) :].partition("}")[0]
        found = dict(re.findall(r"--(ink|paper|shade): #?([0-9a-f ]+);", block))
        shade = tuple(map(int, found.pop("shade").split()))
        full = {name: code if len(code) == 6 else code[0] * 6 for name, code in found.items()}
        themes[theme] = {"shade": shade} | {n: tuple(bytes.fromhex(c)) for n, c in full.items()}
    return themes


def luminance(color: Sequence[float]) -> float:
    parts = [v / 255 / 12.92 if v <= 10.3 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in color]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_render_confusion_cells_have_enough_contrast_in_both_themes(nineteen: str) -> None:
    css = nineteen.partition("<style>")[2].partition("</style>")[0]
    shares = {n: float(a) for n, a in re.findall(r"\.shade(\d).*?/ ([\d.]+)\)", css)}
    assert sorted(shares) == [str(n) for n in range(10)]
    assert set(re.findall(r'class="shade(\d)', nineteen)) <= set(shares)
    for theme, colors in palettes(css).items():
        for share in shares.values():
            pairs = zip(colors["shade"], colors["paper"], strict=True)
            cell = [share * shade + (1 - share) * paper for shade, paper in pairs]
            assert contrast(colors["ink"], cell) >= 4.5, f"{theme}, {share}"


OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
ORDER = """[...document.querySelectorAll('#rows-table tbody tr')].map(
    (row) => row.cells[0].textContent.trim())"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.mark.slow
def test_page_in_a_browser_sorts_filters_prints_and_runs_no_foreign_script(
    nineteen: str, hostile: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path / "report.html"
    file.write_text(nineteen, encoding="utf-8")
    with browser(tmp_path_factory.mktemp("profile")) as page:
        page.open(file, 1280, 900)
        _no_sideways_scrolling(page)
        _shows_all_columns(page)
        _prints_everything_in_light_colors(page)
        page.resize(1280, 900)
        _sorts_and_filters(page)
        _turns_dark(page)
        for selector in ("#theme", "thead button", "input", "button.copy", "nav a", "summary"):
            _shows_focus(page, selector)
        # Without scripts, the page shows the same content.
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.open(file, 390, 844)
        assert page.evaluate("document.querySelectorAll('#rows-table tbody tr').length") == 21
        assert page.evaluate("document.querySelector('.filter').offsetHeight") == 0
        page.call("Emulation.setScriptExecutionDisabled", value=False)
        file.write_text(hostile, encoding="utf-8")
        for width in (390, 1280):
            page.open(file, width, 900)
            assert page.evaluate("window.hacked") is None
            assert page.evaluate(OVERFLOW) <= 0, f"hostile names, {width} px"
        assert page.problems == []
        assert {url.partition(":")[0] for url in page.requests} <= {"file", "data"}


CUT = """[...document.querySelectorAll('.scroll, pre, .confusion')]
    .filter((box) => box.scrollWidth > box.clientWidth)
    .map((box) => box.firstElementChild.id || box.className)"""
"""Elements that are wider than their box, and therefore partly hidden."""
_PAPER_PIXELS = 703
"""The width of A4 between the margins."""


def _shows_all_columns(page: Browser) -> None:
    page.resize(1440, 900)
    assert page.evaluate(CUT) == []


def _prints_everything_in_light_colors(page: Browser) -> None:
    page.resize(_PAPER_PIXELS, 1000, dark=True)
    dark = page.evaluate(BACKGROUND)
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    page.call("Emulation.setEmulatedMedia", media="print", features=[scheme])
    assert page.evaluate(CUT) == []
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate(BACKGROUND) != dark
    page.call("Emulation.setEmulatedMedia", media="", features=[])


def _no_sideways_scrolling(page: Browser) -> None:
    for width in (390, 768, 1280):
        page.resize(width, 844)
        assert page.evaluate(OVERFLOW) <= 0, f"{width} px"
        drawn = "['wide', 'narrow'].filter(k => document.querySelector('.scatter.' + k)" \
            ".getBoundingClientRect().width)"  # fmt: skip
        assert page.evaluate(drawn) == (["narrow"] if width == 390 else ["wide"])
    assert page.evaluate(
        "document.querySelector('.scatter.wide').getBoundingClientRect().top < innerHeight"
    )


def _sorts_and_filters(page: Browser) -> None:
    before = page.evaluate(ORDER)
    head = "#rows-table thead th:nth-child(2)"
    page.click(f"{head} button")
    best_first = page.evaluate(ORDER)
    assert best_first[0].startswith("19 ")
    assert best_first != before
    assert page.evaluate(f"document.querySelector('{head}').ariaSort") == "descending"
    page.evaluate(f"document.querySelector('{head} button').focus()")
    page.press("Enter")
    assert page.evaluate(f"document.querySelector('{head}').ariaSort") == "ascending"
    assert page.evaluate(ORDER)[0].startswith("the most frequent class")
    page.press("Tab")
    page.press(" ")
    third = "document.querySelector('#rows-table thead th:nth-child(3)').ariaSort"
    assert page.evaluate(third) == "descending"
    page.click("#rows-table thead th:last-child button")
    last = "document.querySelector('#rows-table thead th:last-child').ariaSort"
    assert page.evaluate(last) == "ascending", "the shortest training time first"
    page.click("#rows-table thead th:nth-child(1) button")
    assert page.evaluate(ORDER) == before
    page.click("#rows-table-filter")
    page.type("ROW-7 configuration")
    shown = "[...document.querySelectorAll('#rows-table tbody tr')].filter(r => !r.hidden).length"
    assert page.evaluate(shown) == 1
    assert page.evaluate("document.querySelector('.count').textContent") == "1 of 21 shown"
    page.press("Escape")
    assert page.evaluate(shown) == 21


def _turns_dark(page: Browser) -> None:
    light = page.evaluate(BACKGROUND)
    page.click("#theme")
    dark = page.evaluate(BACKGROUND)
    assert dark != light
    page.click("#theme")
    assert page.evaluate(BACKGROUND) == light
    page.evaluate("delete document.documentElement.dataset.theme")
    page.resize(1280, 900, dark=True)
    assert page.evaluate(BACKGROUND) == dark, "the theme of the system"
    page.resize(1280, 900)


def _shows_focus(page: Browser, selector: str) -> None:
    page.press("Tab")  # so that focus is shown as for a keyboard
    page.evaluate(f"document.querySelector('{selector}').focus()")
    style = f"getComputedStyle(document.querySelector('{selector}')).outlineStyle"
    assert page.evaluate(style) == "solid", selector
