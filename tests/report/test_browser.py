"""The page in Chromium: it draws, reacts to keys and clicks, fits a phone, and writes no errors."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from scrcl.report.drawings import dot_plot
from scrcl.report.maps import Maps, category_column, number_column
from scrcl.report.page import Column, Figure, Page, Section, Table, render_page
from scrcl.report.tissue_image import tissue_image

CHROMIUM = next(
    filter(
        None,
        map(
            shutil.which,
            ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome"),
        ),
    ),
    None,
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")

EVIL = "<img src=x onerror=document.title='bad'></script><script>document.title='bad'</script>"


@pytest.fixture(scope="module")
def page():
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 3
    xy = rng.normal(size=(600, 2)) + 9 * np.stack([labels, labels == 1], axis=1)
    maps = Maps(
        n_cells=900,
        umap=xy,
        space=0.1 * rng.random((600, 2)) + np.stack([labels == 1, labels == 2], axis=1),
        slice_of=labels % 2,
        slices=["first", EVIL],
        columns=[
            category_column("cluster", labels, ["0 B cell", EVIL, "2"], "Clusters"),
            number_column("confidence", rng.random(600), "Cells", (0, 1)),
            number_column("CD3D", rng.random(600), "Genes", also="ENSG7"),
            category_column("type", labels // 2, ["a", "b"], "Cells"),
            category_column("mouse", np.arange(600) // 3 % 2, ["a", "b"], "Cells"),
            replace(category_column("batch", labels // 2, ["a", "b"], "Cells"), has_places=False),
        ],
        markers=[["0", "CD79A", 9.0, 0.0], ["0", "=1+1", 3.0, 0.5], ["1", "CD3D", 7.5, 1e-9]],
        marker_columns=["cluster", "gene", "score", "adjusted p"],
        marker_kinds=["text", "text", "score", "p"],
        least=50,
    )
    table = Table(
        [Column("cluster", "label"), Column("cells", "number")], [["a", 2], ["b", 1000], ["c", 30]]
    )
    words = {"summary": ["Words."], "maps": maps}
    figures = [
        Figure(
            dot_plot(np.eye(3), np.eye(3), ["CD79A", "<b>", "CD3D"], ["0", "1", "2"]),
            "Dots.",
            "svg",
            legend=[("first & last", "#123456")],
        )
    ]
    section = Section("Clusters", table=table, figures=figures)
    return render_page(Page("a title", [section], [], "seed = 0", {"scrcl": "1"}, **words))


def opened(html, path, script=None, *options):
    """Return the document after the page was opened and ``script`` ran in it, and what it wrote to the console."""
    if script is not None:
        # Only the test's copy allows a second script.
        html = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", html)
        wait = "while (document.documentElement.dataset.ready !== 'yes') await new Promise((r) => setTimeout(r, 20));"
        html = html.replace(
            "</body>", f"<script>(async () => {{ {wait} {script} {DONE} }})()</script></body>"
        )
    path.write_text(html, encoding="utf-8")
    ended = 'data-ready="yes"' if script is None else 'data-done="yes"'
    # The page's time runs on while other threads unpack its data and make pictures. On a busy machine it may be over
    # before they are done, so the page is given more of it then.
    for page_time in (200_000, 2_000_000, 20_000_000):
        document, console = in_browser(path, f"--virtual-time-budget={page_time}", *options)
        if ended in document or console:
            break
    return document, console


DONE = "document.documentElement.dataset.done = 'yes';"


def in_browser(path, *options):
    """Return the document and the lines of the console."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command = [CHROMIUM, *flags, *options, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_the_page_draws_under_its_own_policy_without_errors(page, tmp_path):
    document, console = opened(page, tmp_path / "page.html")
    assert console == []
    assert 'data-ready="yes"' in document
    assert "<title>a title</title>" in document
    assert document.count('class="count">200') == 3
    assert '<option value="2">CD3D</option>' in document


WORK = """
const say = {};
const click = (element) => element.dispatchEvent(new MouseEvent("click", {bubbles: true}));
const ink = (id) => {
  const canvas = $(id), data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let strong = 0;
  for (let i = 0; i < data.length; i += 4) {
    const values = [data[i], data[i + 1], data[i + 2]];
    if (Math.max(...values) - Math.min(...values) > 40) strong++;
  }
  return strong;
};
const height = (id, colour) => {  // where a colour lies, from the top (0) to the bottom (1)
  const canvas = $(id), data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let [sum, n] = [0, 0];
  for (let i = 0; i < data.length; i += 4) {
    const apart = colour.reduce((all, v, k) => all + Math.abs(v - data[i + k]), 0);
    if (apart < 40) { sum += Math.floor(i / 4 / canvas.width) / canvas.height; n++; }
  }
  return sum / n;
};
say.heights = ["#4e79a7", "#59a14f"].map((colour) => height("space", rgb(colour)));
say.umapHeights = ["#4e79a7", "#f28e2b"].map((colour) => height("umap", rgb(colour)));
const soon = () => new Promise((r) => setTimeout(r, 100));
say.drawn = ink("umap"); say.space = ink("space");
click($("legend").children[0]); await soon();
say.alone = ink("umap"); say.pressed = $("legend").children[0].getAttribute("aria-pressed");
document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"})); await soon();
say.again = ink("umap");
$("search").value = "cd3d"; $("search").dispatchEvent(new Event("change")); await soon();
say.chosen = $("colour").selectedOptions[0].textContent; say.ramp = document.querySelectorAll(".ramp").length;
$("search").value = "nothing"; $("search").dispatchEvent(new Event("change")); await soon();
say.missing = $("not-found").textContent;
$("search").value = "ensg7"; $("search").dispatchEvent(new Event("change")); await soon();
say.byId = $("colour").selectedOptions[0].textContent;
const headings = CellMap.prototype.headings, bar = CellMap.prototype.bar;
CellMap.prototype.headings = CellMap.prototype.bar = () => {};
say.names = {};
for (const name of ["cluster", "type", "mouse", "batch"]) {
  const drawn = [], write = CanvasRenderingContext2D.prototype.fillText;
  CanvasRenderingContext2D.prototype.fillText = (text) => drawn.push(text);
  $("search").value = name; $("search").dispatchEvent(new Event("change")); await soon();
  CanvasRenderingContext2D.prototype.fillText = write;
  say.names[name] = [...new Set(drawn)].sort();
}
Object.assign(CellMap.prototype, { headings, bar });
const texts = async (slice) => {
  const drawn = [], write = CanvasRenderingContext2D.prototype.fillText;
  CanvasRenderingContext2D.prototype.fillText = (text) => drawn.push(text);
  $("slice").value = slice; $("slice").dispatchEvent(new Event("change")); await soon();
  CanvasRenderingContext2D.prototype.fillText = write;
  return drawn;
};
say.slice = await texts("0"); say.one = ink("space");
say.slices = await texts("-1"); say.both = ink("space");
$("search").value = "ensg7"; $("search").dispatchEvent(new Event("change")); await soon();
const canvas = $("umap"), box = canvas.getBoundingClientRect();
for (let x = 5; x < box.width && $("tip").hidden; x += 5) {
  for (let y = 5; y < box.height && $("tip").hidden; y += 5) {
    canvas.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + x, clientY: box.top + y, pointerId: 1}));
  }
}
say.tip = $("tip").textContent;
const unzoomed = ink("umap");
canvas.dispatchEvent(new KeyboardEvent("keydown", {key: "+"}));
while (ink("umap") === unzoomed) await soon();  // the next frame draws it, whenever that is
say.rows = $("marker-table").tBodies[0].rows.length;
$("marker-cluster").value = ""; $("marker-cluster").dispatchEvent(new Event("change"));
click($("marker-table").tHead.querySelectorAll("button")[2]);
say.first = [...$("marker-table").tBodies[0].rows].map((row) => row.cells[1].textContent);
const numbersOf = (row) => [2, 3].map((i) => row.cells[i].textContent).join(" ");
say.numbers = [...$("marker-table").tBodies[0].rows].map(numbersOf);
$("marker-search").value = "cd3"; $("marker-search").dispatchEvent(new Event("input"));
say.found = [...$("marker-table").tBodies[0].rows].map((row) => row.cells[1].textContent);
$("marker-search").value = ""; $("marker-search").dispatchEvent(new Event("input"));
let csv; URL.createObjectURL = (blob) => { csv = blob; return "#"; };
click($("marker-csv")); say.csv = await csv.text();
// The page's time runs on while another thread unpacks a picture, and ends where nothing waits for it.
const settled = async (promise) => {
  let isDone = false;
  promise.finally(() => { isDone = true; });
  while (!isDone) await new Promise((r) => setTimeout(r, 1));
  return promise;
};
const saved = (button) => { click(button); return csv; };
const before = [$("umap").width, ink("umap")];
const png = await settled(createImageBitmap(saved($("umap").parentElement.querySelector(".save"))));
say.after = [$("umap").width, ink("umap")]; say.before = before;
say.png = [png.width, png.height, $("umap").width];
const picture = make("canvas", undefined, {id: "picture"}); document.body.append(picture);
picture.width = png.width; picture.height = png.height; picture.getContext("2d").drawImage(png, 0, 0);
say.pngInk = ink("picture"); picture.remove();
say.svg = await settled(saved(document.querySelector("figure:has(.dots) .save")).text());
const table = document.querySelector("table");
click(table.tHead.querySelectorAll("button")[1]);
say.sorted = [...table.tBodies[0].rows].map((row) => row.cells[0].textContent.trim());
click($("theme")); await soon();
say.dark = getComputedStyle(document.body).backgroundColor;
say.wide = document.documentElement.scrollWidth; say.inner = innerWidth;
document.body.append(make("pre", JSON.stringify(say), {id: "said"}));
"""


@pytest.fixture(scope="module")
def said(page, tmp_path_factory):
    import json
    from html import unescape

    path = tmp_path_factory.mktemp("browser") / "page.html"
    document, console = opened(page, path, WORK, "--window-size=500,800")
    assert console == []
    return json.loads(unescape(re.search(r'<pre id="said">(.*?)</pre>', document, re.DOTALL)[1]))


def test_a_group_can_be_seen_alone_and_escape_shows_all(said):
    assert said["drawn"] > said["alone"] > 0
    assert said["again"] == said["drawn"]
    assert said["pressed"] == "true"
    assert said["space"] > 0


def test_a_tissue_points_down_like_its_image_and_a_umap_up(said):
    low, high = said["heights"]
    assert low < 0.4 < 0.6 < high
    low, high = said["umapHeights"]
    assert low > 0.5 > high


def test_maps_are_coloured_by_what_is_searched(said):
    assert (said["chosen"], said["ramp"]) == ("CD3D", 1)
    assert said["missing"].startswith("nothing is not among")
    assert '--set "report.genes=nothing"' in said["missing"]
    assert said["byId"] == "CD3D"
    assert re.match(r"cluster: .*\nCD3D: 0\.\d+", said["tip"])


def test_names_of_categories_are_drawn_where_these_have_places(said):
    assert len(said["names"]["cluster"]) == 3
    assert said["names"]["type"] == ["a", "b"]
    assert said["names"]["mouse"] == said["names"]["batch"] == []


def test_slices_are_drawn_side_by_side_with_their_names_and_one_can_be_chosen(said):
    assert said["both"] > said["one"] > 0
    assert "first" in said["slices"]
    assert "first" not in said["slice"]


def test_a_map_is_saved_with_its_legend_in_the_size_of_a_slide_and_stays_as_it_was(said):
    width, height, before = said["png"]
    assert width > 2400  # the map, and its legend
    assert height > 2 * before
    assert said["pngInk"] > 4 * said["before"][1]
    assert said["after"] == said["before"]


def test_a_drawing_is_saved_as_svg_that_needs_no_page(said):
    root = ET.fromstring(said["svg"])  # noqa: S314
    names = [node.text for node in root.iter() if node.tag.endswith("}text")]
    assert {"CD79A", "<b>", "first & last", "0"} <= set(names)
    svg = "{http://www.w3.org/2000/svg}"
    circle = next(root.iter(f"{svg}circle"))
    assert re.search("fill: ?rgb", circle.get("style"))
    assert "var(" not in said["svg"]
    parts = root.findall(f"{svg}svg")
    assert float(parts[1].get("x")) == float(parts[0].get("width")) > 0


def test_a_name_that_would_stand_at_cells_of_others_is_a_number(tmp_path):
    # A small cluster between two large ones: its name would lie upon these, whose cells it would name.
    rng = np.random.default_rng(0)
    side = np.arange(12_000) % 2
    large = np.stack([(2 * side - 1) * rng.uniform(1, 10, 12_000), rng.uniform(-2, 2, 12_000)], 1)
    xy = np.concatenate([large, rng.normal(0, 0.1, (6, 2))])
    labels = np.concatenate([side, np.full(6, 2)])
    names = ["0 T cell", "1 B cell", "2 a small cluster"]
    maps = Maps(12_006, xy, [category_column("cluster", labels, names, "Clusters")])
    html = render_page(Page("t", [], [], "", {"scrcl": "1"}, summary=["W."], maps=maps))
    script = """
    const drawn = [], write = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = (text) => drawn.push(text);
    $("search").value = "cluster"; $("search").dispatchEvent(new Event("change"));
    await new Promise((r) => setTimeout(r, 100));
    document.body.append(make("pre", JSON.stringify(drawn), {id: "said"}));
    """
    document, _ = opened(html, tmp_path / "page.html", script, "--window-size=900,800")
    drawn = json.loads(re.search(r'<pre id="said">(.*?)</pre>', document)[1])
    assert set(drawn) == {"0 T cell", "1 B cell", "2"}


def test_a_tissue_has_a_bar_of_a_round_length(said):
    assert said["slice"][-1] in {"0.1", "0.2", "0.5"}  # the slice is one wide


def test_markers_are_sorted_searched_and_saved_without_formulas(said):
    assert said["rows"] == 2  # the first cluster
    assert said["first"] == ["CD79A", "CD3D", "=1+1"]
    assert said["found"] == ["CD3D"]
    assert said["numbers"] == ["9.0 < 1e-300", "7.5 1.0e-9", "3.0 0.50"]
    assert '"\'=1+1"' in said["csv"]
    assert said["csv"].splitlines()[0] == '"cluster","gene","score","adjusted p"'


def test_other_tables_are_sorted_by_number_and_the_page_turns_dark_and_fits_a_phone(said):
    assert said["sorted"] == ["a", "c", "b"]
    assert said["dark"] == "rgb(20, 25, 31)"
    assert said["wide"] <= said["inner"]


def test_the_image_of_the_tissue_lies_below_its_slice_and_can_be_hidden(tmp_path):
    grid = np.stack(np.divmod(np.arange(100.0), 10), axis=1)
    space, slices = np.concatenate([grid, grid]), np.repeat([0, 1], 100)
    column = category_column("domain", np.zeros(200, int), ["0"], "Clusters")
    pixels = np.zeros((50, 50, 3), np.uint8)
    pixels[:, :, 0] = 255
    image = tissue_image(1, pixels, np.full(2, -0.3), np.full(2, 9.6), n_images=1)
    maps = Maps(200, None, [column], space, slices, ["a", "b"], images=[image])
    html = render_page(Page("tissue", [], [], "seed = 0", {"scrcl": "1"}, maps=maps))
    script = """
    const canvas = $("space"), said = {};
    const red = () => {
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data, at = [];
      for (let i = 0; i < data.length; i += 4) {
        const isRed = data[i] > 240 && data[i + 1] < 20 && data[i + 2] < 20;
        if (isRed) at.push(Math.floor(i / 4 / canvas.width) / canvas.height);
      }
      return at.length ? [at[0], at[at.length - 1]] : [];
    };
    const pick = (value) => { $("slice").value = value; $("slice").dispatchEvent(new Event("change")); };
    said.all = red();
    pick(0); said.other = red();
    pick(1); said.own = red();
    $("tissue").click(); said.hidden = red();
    document.title = JSON.stringify(said);
    """
    document, console = opened(html, tmp_path / "page.html", script)
    assert console == []
    said = json.loads(re.search("<title>(.*?)</title>", document)[1])
    (top, bottom), (own_top, own_bottom) = said["all"], said["own"]
    assert 0.45 < top < bottom  # the second slice lies below the first
    assert own_bottom - own_top > bottom - top
    assert said["other"] == said["hidden"] == []


def test_cells_of_the_run_are_drawn_behind_new_ones_and_have_no_values(tmp_path):
    xy = np.array([[0.0, 0.0], [1.0, 0.0]])
    column = category_column("cluster", np.zeros(2, int), ["0"], "Clusters")
    behind = np.stack([np.repeat(np.linspace(0, 1, 20), 20), np.tile(np.linspace(0.5, 1, 20), 20)])
    maps = Maps(2, xy, [column], behind=behind.T, n_run=400)
    html = render_page(Page("new", [], [], "seed = 0", {"scrcl": "1"}, maps=maps))
    script = """
    const canvas = $("umap"), box = canvas.getBoundingClientRect(), said = [];
    const at = (y) => canvas.getContext("2d").getImageData(0, y * canvas.height, canvas.width, canvas.height / 2).data;
    for (const y of [0, 0.5]) {
      const rows = at(y);
      said.push(rows.some((v, i) => i % 4 === 2 && v - rows[i - 2] > 40));
    }
    for (const y of [20, box.height - 10]) {
      const where = {clientX: box.left + 10, clientY: box.top + y, pointerId: 1};
      canvas.dispatchEvent(new PointerEvent("pointermove", where));
      said.push($("tip").hidden);
    }
    document.title = JSON.stringify(said);
    """
    document, console = opened(html, tmp_path / "page.html", script)
    assert console == []
    # Above lie cells of the run: grey, without values. Below lie the new ones.
    assert "<title>[false,true,true,false]</title>" in document


def test_a_wide_dot_plot_shrinks_to_the_paper(tmp_path):
    values = np.full((100, 3), 0.5)
    drawn = dot_plot(values, values, [f"gene{i}" for i in range(100)], ["a", "b", "c"])
    sections = [Section("Dot plot", figures=[Figure(drawn, "", "svg", wide=True)])]
    maps = Maps(1, np.zeros((1, 2)), [category_column("cluster", np.zeros(1, int), ["0"], "Cells")])
    html = render_page(Page("wide", sections, [], "seed = 0", {"scrcl": "1"}, maps=maps))
    script = """
    const boxes = [...document.querySelectorAll(".dots svg")].map((each) => each.getBoundingClientRect());
    const sizes = [boxes[1].right <= document.body.clientWidth, Math.abs(boxes[0].height - boxes[1].height) < 1];
    document.title = JSON.stringify(sizes);
    """
    on_paper = html.replace("@media print", "@media all")
    for text, fits in ((html, "false"), (on_paper, "true")):
        document, _ = opened(text, tmp_path / "page.html", script, "--window-size=740,900")
        assert f"<title>[{fits},true]</title>" in document
