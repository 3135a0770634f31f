"use strict";
// Interactive maps, tables and markers of the report. The data stand in the page; nothing is loaded.
const $ = (id) => document.getElementById(id);
const make = (tag, text, attributes) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const name in attributes || {}) element.setAttribute(name, attributes[name]);
  return element;
};
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
const numbers = async (text) => new Uint16Array((await unpack(text)).buffer);

function rgb(colour) {
  const value = parseInt(colour.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}
// Stops of a scale from pale to strong, readable on white and on dark.
const SCALE = ["#d8dee6", "#9ecae1", "#4292c6", "#2a5fa8", "#4b2a86", "#2b0b4e"].map(rgb);
const DARK_SCALE = ["#39414c", "#31658c", "#3f97b5", "#6cc9a5", "#c8e86a", "#fdf6a0"].map(rgb);
function shade(step) {
  const stops = isDark() ? DARK_SCALE : SCALE;
  const at = (step / 254) * (stops.length - 1);
  const i = Math.min(Math.floor(at), stops.length - 2);
  return stops[i].map((v, k) => Math.round(v + (at - i) * (stops[i + 1][k] - v)));
}
function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

// One map: positions, a view that pans and zooms, and a canvas. Views know nothing of each other.
class CellMap {
  constructor(canvas, xy, state, flip) {
    Object.assign(this, { canvas, state, flip, x: xy.x, y: xy.y, equal: xy.equal, unit: xy.unit, shown: null, tiles: null, images: [], slice: -1 });
    this.tip = $("tip");
    this.listen();
    this.reset();
  }
  // Draw only the cells for which keep(i), or all.
  only(keep) {
    this.shown = keep;
    this.reset();
  }
  reset() {
    let [left, right, top, bottom] = [65535, 0, 65535, 0];
    for (let i = 0; i < this.x.length; i++) {
      if (this.shown && !this.shown(i)) continue;
      left = Math.min(left, this.x[i]); right = Math.max(right, this.x[i]);
      top = Math.min(top, this.y[i]); bottom = Math.max(bottom, this.y[i]);
    }
    for (const { x, y, w, h } of this.below()) {
      left = Math.min(left, x); right = Math.max(right, x + w);
      top = Math.min(top, y); bottom = Math.max(bottom, y + h);
    }
    if (right < left) [left, right, top, bottom] = [0, 1, 0, 1];
    if (this.tiles) top -= 0.06 * (bottom - top); // room for the names of the first row
    this.home = { left, top, wide: Math.max(right - left, 1), high: Math.max(bottom - top, 1) };
    this.zoom = 1; this.dx = 0; this.dy = 0;
    this.draw();
  }
  // Images of the tissue below the slices that are shown.
  below() {
    return this.images.filter((image) => this.slice < 0 || image.slice === this.slice);
  }
  // ratio: pixels of the canvas for one of the page.
  resize(ratio) {
    const box = this.canvas.getBoundingClientRect();
    const [w, h] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
    if (w && h && (w !== this.canvas.width || h !== this.canvas.height)) {
      this.canvas.width = w; this.canvas.height = h;
    }
    const change = ratio / (this.ratio || ratio);
    this.dx *= change; this.dy *= change; this.ratio = ratio;
  }
  // Positions on the canvas of all cells, kept for hovering.
  place() {
    const { width, height } = this.canvas;
    const margin = 10 * this.ratio;
    let sx = (width - 2 * margin) / this.home.wide, sy = (height - 2 * margin) / this.home.high;
    if (this.equal) sx = sy = Math.min(sx, sy);
    this.pixels = sx * this.zoom; // of a step of the positions
    const ox = (width - sx * this.home.wide) / 2, oy = (height - sy * this.home.high) / 2;
    const across = (x) => (ox + sx * (x - this.home.left) - width / 2) * this.zoom + width / 2 + this.dx;
    const down = (y) => (oy + sy * (y - this.home.top) - height / 2) * this.zoom + height / 2 + this.dy;
    this.boxOf = ({ x, y, w, h }) => [across(x), down(y), w * sx * this.zoom, h * sy * this.zoom];
    const n = this.x.length;
    this.px = this.px || new Float32Array(n); this.py = this.py || new Float32Array(n);
    for (let i = 0; i < n; i++) {
      const x = ox + sx * (this.x[i] - this.home.left);
      let y = oy + sy * (this.y[i] - this.home.top);
      if (this.flip) y = height - y;
      this.px[i] = (x - width / 2) * this.zoom + width / 2 + this.dx;
      this.py[i] = (y - height / 2) * this.zoom + height / 2 + this.dy;
    }
  }
  // Of many cells only some are drawn while the map moves: step is 1 for all.
  draw(step = 1, ratio = Math.min(window.devicePixelRatio || 1, 2)) {
    this.resize(ratio);
    const { width, height } = this.canvas;
    if (!width || !height || !this.state.codes) return;
    this.place();
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = css("--background");
    context.fillRect(0, 0, width, height);
    const images = this.state.showsTissue ? this.below() : [];
    for (const each of images) context.drawImage(each.element, ...this.boxOf(each));
    const image = context.getImageData(0, 0, width, height);
    const data = image.data;
    const discFor = (n, cover) => discOf(this.ratio * Math.min(Math.max(0.55 * Math.sqrt(60000 / n), 0.8), 4)
      * Math.min(Math.sqrt(this.zoom), 3), cover);
    const { codes, table, order, isFaded } = this.state;
    // Over an image cells let it shine through, and faded ones nearly vanish.
    const disc = discFor(order.length, images.length ? 0.6 : 0.9), small = discFor(this.x.length, 0.9);
    const fadedDisc = images.length ? discFor(order.length, 0.15) : disc;
    // Positions beyond the cells with values are cells of the run, behind new ones.
    for (let i = order.length; i < this.x.length; i += step) {
      stamp(data, width, height, this.px[i], this.py[i], small, this.state.faint);
    }
    for (const faded of [true, false]) {
      for (let k = 0; k < order.length; k += step) {
        const i = order[k];
        if (isFaded(i) !== faded || (this.shown && !this.shown(i))) continue;
        const colour = faded ? this.state.faint : table[codes[i]];
        stamp(data, width, height, this.px[i], this.py[i], faded ? fadedDisc : disc, colour);
      }
    }
    context.putImageData(image, 0, 0);
    this.label(context);
    if (this.tiles) this.headings(context);
    if (this.unit) this.bar(context);
  }
  // Names of slices above each of them.
  headings(context) {
    const { of, names } = this.tiles;
    const boxes = names.map(() => [Infinity, -Infinity, Infinity]);
    for (let i = 0; i < of.length; i++) {
      const box = boxes[of[i]];
      if (!box) continue;
      box[0] = Math.min(box[0], this.px[i]); box[1] = Math.max(box[1], this.px[i]); box[2] = Math.min(box[2], this.py[i]);
    }
    context.font = `${11 * this.ratio}px system-ui, sans-serif`;
    context.textAlign = "center"; context.textBaseline = "middle"; context.fillStyle = css("--text");
    boxes.forEach(([left, right, top], k) => {
      if (right < left) return;
      const room = Math.max(right - left, 60 * this.ratio) / (6 * this.ratio);
      context.fillText(short(names[k], Math.max(Math.floor(room), 4)), (left + right) / 2, top - 10 * this.ratio);
    });
  }
  // A bar of a round length, about a fifth of the map, in units of the coordinates.
  bar(context) {
    const { width, height } = this.canvas, wanted = (width / 5 / this.pixels) * this.unit;
    const power = 10 ** Math.floor(Math.log10(wanted));
    const length = power * [5, 2, 1].find((n) => n * power <= wanted);
    const [x, y, wide] = [10 * this.ratio, height - 10 * this.ratio, (length / this.unit) * this.pixels];
    context.fillStyle = css("--text"); context.strokeStyle = css("--background");
    context.lineWidth = 3 * this.ratio; context.lineJoin = "round";
    context.strokeRect(x, y, wide, 2 * this.ratio); // it is seen on an image too
    context.fillRect(x, y, wide, 2 * this.ratio);
    context.font = `${11 * this.ratio}px system-ui, sans-serif`;
    context.textAlign = "left"; context.textBaseline = "bottom";
    const text = Number(length.toPrecision(1)).toLocaleString("en", { maximumSignificantDigits: 1 });
    context.strokeText(text, x, y - 2 * this.ratio); context.fillText(text, x, y - 2 * this.ratio);
  }
  // Names of categories inside their cells, if most cells around these are theirs: a donor whose cells lie in all
  // clusters has no place. The largest first, moved where they would overlap. A name must not stand at cells of
  // others, which it would name: then the number of a cluster stands alone, and the legend has its name.
  label(context) {
    const names = this.state.labels, tiles = this.tiles ? this.tiles.names.length : 1;
    if (!names || names.length > 60 || tiles > 6) return;
    context.font = `600 ${12 * this.ratio}px system-ui, sans-serif`;
    context.textAlign = "center"; context.textBaseline = "middle"; context.lineJoin = "round";
    context.lineWidth = 3 * this.ratio; context.strokeStyle = css("--background"); context.fillStyle = css("--text");
    // Of slices side by side, each has its own.
    const at = Array.from({ length: tiles * names.length }, (_, k) => ({ name: names[k % names.length], code: k % names.length, xs: [], ys: [] })), near = [];
    const n = this.state.order.length, step = Math.max(1, Math.floor(n / 20000));
    for (let i = 0; i < n; i += step) {
      const code = this.state.codes[i];
      if (code >= names.length || this.state.isFaded(i) || (this.shown && !this.shown(i))) continue;
      const each = at[(this.tiles ? this.tiles.of[i] * names.length : 0) + code];
      each.xs.push(this.px[i]); each.ys.push(this.py[i]); near.push(i);
    }
    // Cells by squares of the map, of all and of one category.
    const size = 5 * this.ratio, wide = Math.ceil(this.canvas.width / size) + 4, high = Math.ceil(this.canvas.height / size) + 2;
    const squareOf = (x, y) => {
      const [column, row] = [Math.floor(x / size) + 2, Math.floor(y / size) + 1];
      return column < 2 || row < 1 || column >= wide - 2 || row >= high - 1 ? -1 : row * wide + column;
    };
    const counted = (indices, xs, ys) => {
      const counts = new Uint32Array(wide * high);
      for (const i of indices) { const k = squareOf(xs[i], ys[i]); if (k >= 0) counts[k]++; }
      return counts;
    };
    const around = (counts, k) => {
      let sum = 0;
      for (let row = k - wide; row <= k + wide; row += wide) for (let column = -2; column <= 2; column++) sum += counts[row + column];
      return sum;
    };
    const middle = (v) => Float32Array.from(v).sort()[v.length >> 1], ofAll = counted(near, this.px, this.py);
    // Where the name of a category is drawn, and whether most cells around its cells are its own. A name stands where
    // it has the most cells of its own around it, so a ring or a thin layer has it inside, and near the middle.
    const placeOf = ({ xs, ys }) => {
      const [mx, my] = [middle(xs), middle(ys)], own = counted(xs.keys(), xs, ys), found = new Map();
      let best = null, share = 0, n = 0;
      for (let k = 0; k < xs.length; k++) {
        const square = squareOf(xs[k], ys[k]);
        if (square < 0) continue;
        if (!found.has(square)) found.set(square, around(own, square) / around(ofAll, square));
        const here = found.get(square);
        share += here; n++;
        const each = { x: xs[k], y: ys[k], inside: Math.round(here * 5), away: (xs[k] - mx) ** 2 + (ys[k] - my) ** 2 };
        if (!best || each.inside > best.inside || (each.inside === best.inside && each.away < best.away)) best = each;
      }
      return best ? { x: best.x, y: best.y, isOwn: 2 * share > n } : { isOwn: false };
    };
    at.forEach((each) => { if (each.name && each.xs.length) Object.assign(each, placeOf(each)); });
    const taken = [], line = 15 * this.ratio;
    const isAtOwn = (x, y, half, code) => {
      let [own, all] = [0, 0];
      for (const i of near) {
        if (Math.abs(this.px[i] - x) >= half + 6 * this.ratio || Math.abs(this.py[i] - y) >= line / 2) continue;
        all++;
        if (this.state.codes[i] === code) own++;
      }
      return 2 * own >= all;
    };
    for (const { name, code, x: px, y: centre } of at.filter((each) => each.isOwn).sort((a, b) => b.xs.length - a.xs.length)) {
      const number = name.split(" ")[0];
      for (const text of /^\d+$/.test(number) && number !== name ? [name, number] : [name]) {
        const half = context.measureText(text).width / 2 + 4 * this.ratio;
        const x = Math.min(Math.max(px, half), this.canvas.width - half);
        const isFree = (y) => taken.every((t) => Math.abs(t.x - x) >= t.half + half || Math.abs(t.y - y) >= line) && isAtOwn(x, y, half, code);
        const y = [0, 1, -1].map((n) => centre + n * line).find(isFree);
        if (y === undefined) continue;
        taken.push({ x, y, half });
        context.strokeText(text, x, y); context.fillText(text, x, y);
        break;
      }
    }
  }
  nearest(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) * this.ratio, y = (event.clientY - box.top) * this.ratio;
    let best = -1, least = (14 * this.ratio) ** 2;
    for (let i = 0; i < this.state.order.length; i++) {
      const d = (this.px[i] - x) ** 2 + (this.py[i] - y) ** 2;
      if (d < least && !this.state.isFaded(i) && !(this.shown && !this.shown(i))) { least = d; best = i; }
    }
    return best;
  }
  move(dx, dy) { this.dx += dx * this.ratio; this.dy += dy * this.ratio; this.later(); }
  scale(factor, x, y) {
    const { width, height } = this.canvas;
    const zoom = Math.min(Math.max(this.zoom * factor, 1), 60), change = zoom / this.zoom;
    const cx = x === undefined ? 0 : x * this.ratio - width / 2, cy = y === undefined ? 0 : y * this.ratio - height / 2;
    this.dx = cx - change * (cx - this.dx); this.dy = cy - change * (cy - this.dy); this.zoom = zoom;
    if (zoom === 1) this.dx = this.dy = 0;
    this.later();
  }
  later() {
    if (this.waiting) return;
    this.waiting = true;
    const step = Math.ceil(this.x.length / 20000);
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw(step);
      clearTimeout(this.rest);
      if (step > 1) this.rest = setTimeout(() => this.draw(), 150);
    });
  }
  listen() {
    const canvas = this.canvas, fingers = new Map();
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.scale(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, event); this.moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return this.hover(event);
      const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
      const other = [...fingers.values()].find((f) => f.pointerId !== event.pointerId);
      if (other) {
        const apart = (e) => Math.hypot(e.clientX - other.clientX, e.clientY - other.clientY);
        this.scale(apart(event) / Math.max(apart(before), 1));
      } else this.move(dx, dy);
      this.moved += Math.abs(dx) + Math.abs(dy);
      fingers.set(event.pointerId, event);
    });
    const lift = (event) => {
      if (fingers.delete(event.pointerId) && this.moved < 4 && event.type === "pointerup") this.pick(event);
    };
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);
    canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener("keydown", (event) => {
      const keys = {
        ArrowLeft: () => this.move(40, 0), ArrowRight: () => this.move(-40, 0), ArrowUp: () => this.move(0, 40),
        ArrowDown: () => this.move(0, -40), "+": () => this.scale(1.4), "=": () => this.scale(1.4),
        "-": () => this.scale(1 / 1.4), 0: () => this.reset(),
      };
      if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
    });
  }
  hover(event) {
    const i = this.nearest(event);
    this.tip.hidden = i < 0;
    if (i < 0) return;
    this.tip.textContent = this.state.about(i);
    const box = this.tip.getBoundingClientRect();
    this.tip.style.left = `${Math.min(event.clientX + 14, innerWidth - box.width - 8)}px`;
    this.tip.style.top = `${Math.min(event.clientY + 14, innerHeight - box.height - 8)}px`;
  }
  pick(event) {
    const i = this.nearest(event);
    this.hover(event);
    if (i >= 0 && this.state.column.levels.length) this.state.isolate(this.state.codes[i]);
  }
}

// Offsets and coverage of the pixels of a disc.
function discOf(radius, most) {
  const disc = [], reach = Math.ceil(radius);
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const cover = Math.min(Math.max(radius + 0.5 - Math.hypot(x, y), 0), 1);
      if (cover > 0) disc.push([x, y, most * cover]);
    }
  }
  return disc;
}
function stamp(data, width, height, px, py, disc, colour) {
  const cx = Math.round(px), cy = Math.round(py);
  if (cx < -9 || cy < -9 || cx > width + 9 || cy > height + 9) return;
  for (const [dx, dy, cover] of disc) {
    const x = cx + dx, y = cy + dy;
    if (x < 0 || y < 0 || x >= width || y >= height) continue;
    const at = 4 * (y * width + x);
    for (let k = 0; k < 3; k++) data[at + k] += cover * (colour[k] - data[at + k]);
  }
}

class Viewer {
  constructor(data) {
    this.data = data;
    this.only = null;
    this.maps = [];
    this.order = shuffled(data.n);
    this.showsTissue = Boolean(data.images);
  }
  async start() {
    const { data } = this;
    this.choose = $("colour");
    const of = data.columns[0].name; // clusters, or the domains of a tissue
    for (const group of ["Clusters", "Cells", "Genes"]) {
      const label = group === "Clusters" ? `${of[0].toUpperCase()}${of.slice(1)}s` : group;
      const box = make("optgroup", undefined, { label });
      data.columns.forEach((column, i) => {
        if (column.group === group) box.append(make("option", column.name, { value: i }));
      });
      if (box.children.length) this.choose.append(box);
    }
    const names = $("column-names");
    for (const column of data.columns) names.append(make("option", undefined, { value: column.name }));
    this.choose.addEventListener("change", () => this.show(Number(this.choose.value)));
    $("search").addEventListener("change", () => this.search());
    $("search").addEventListener("keydown", (event) => { if (event.key === "Enter") this.search(); });
    $("all").addEventListener("click", () => this.isolate(null));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { $("tip").hidden = true; this.isolate(null); }
    });
    await this.show(0, true);
    if (data.umap) await this.add("umap", data.umap, true);
    if (data.space) {
      const map = await this.add("space", data.space, false);
      if (data.images) await this.tissue(map);
      if (data.slice) await this.slices(map);
    }
    new ResizeObserver(() => this.draw()).observe($("maps"));
  }
  async add(id, xy, flip) {
    const map = new CellMap($(id), { x: await numbers(xy.x), y: await numbers(xy.y), equal: xy.equal, unit: xy.unit }, this, flip);
    if (xy.unit) $("bar").hidden = false;
    this.maps.push(map);
    map.canvas.nextElementSibling.append(" ", saveButton("Save picture", () => saveMap(map)));
    return map;
  }
  async tissue(map) {
    for (const { data, ...where } of this.data.images) {
      const element = make("img", undefined, { src: `data:image/jpeg;base64,${data}` });
      await element.decode();
      map.images.push({ element, ...where });
    }
    $("tissue").addEventListener("change", () => { this.showsTissue = $("tissue").checked; map.draw(); });
    map.reset();
  }
  async slices(map) {
    const of = await unpack(this.data.slice), choose = $("slice"), names = this.data.slices;
    choose.append(make("option", "all, side by side", { value: -1 }));
    names.forEach((name, i) => choose.append(make("option", name || "all", { value: i })));
    const pick = () => {
      const chosen = Number(choose.value);
      map.tiles = chosen < 0 ? { of, names } : null;
      map.slice = chosen;
      map.only((i) => (chosen < 0 ? of[i] < names.length : of[i] === chosen));
    };
    choose.addEventListener("change", pick);
    if (names.length > 1) pick(); else choose.parentElement.hidden = true;
  }
  search() {
    const text = $("search").value.trim().toLowerCase();
    if (!text) return;
    const found = this.data.columns.findIndex((column) => [column.name, column.also].some((name) => name && name.toLowerCase() === text));
    $("not-found").hidden = found >= 0;
    if (found < 0) {
      const name = $("search").value.trim();
      const again = ` If it is a gene of the data, redo the run from its report: on the command line with --from report --set "report.genes=${name}", in Python with start="report", report={"genes": "${name}"}.`;
      $("not-found").textContent = `${name} is not among the genes and columns of the maps.${this.data.new ? "" : again}`;
      return;
    }
    this.choose.value = found;
    this.show(found);
  }
  async codesOf(i) {
    const column = this.data.columns[i];
    if (!column.codes) column.codes = await unpack(column.data);
    return column.codes;
  }
  async show(i, quiet) {
    this.index = i;
    this.column = this.data.columns[i];
    this.codes = await this.codesOf(i);
    this.clusters = await this.codesOf(0);
    if (!this.keepOnly) this.only = null;
    this.paint();
    this.legend();
    if (!quiet) this.draw();
  }
  paint() {
    const { levels, colours } = this.column;
    this.table = [];
    for (let code = 0; code < 256; code++) {
      this.table.push(levels.length ? rgb(colours[code] || css("--faint")) : shade(Math.min(code, 254)));
    }
    this.table[255] = rgb(css("--faint"));
    this.faint = rgb(css("--faint"));
    const placed = this.placed();
    this.labels = levels.length ? levels.map((level, code) => (placed[code] ? short(level, 24) : null)) : null;
  }
  // Whether each category has a place on the map: batches have none, nor have those whose cells share their clusters
  // with cells of others. The mean is over the cells of the category, of its share in the cluster of the cell.
  placed() {
    const { levels, group, places } = this.column;
    if (!places || group === "Clusters") return levels.map(() => places);
    const clusters = new Float64Array(256), own = levels.map(() => new Float64Array(256));
    for (let i = 0; i < this.codes.length; i++) {
      clusters[this.clusters[i]]++;
      if (this.codes[i] < levels.length) own[this.codes[i]][this.clusters[i]]++;
    }
    return own.map((counts) => {
      const mean = counts.reduce((sum, n, k) => (n ? sum + (n * n) / clusters[k] : sum), 0);
      return mean >= 0.75 * counts.reduce((sum, n) => sum + n, 0);
    });
  }
  isFaded = (i) => this.only !== null && this.codes[i] !== this.only;
  isolate(code) {
    this.only = this.only === code ? null : code;
    this.legend();
    this.draw();
  }
  draw() { for (const map of this.maps) map.draw(); }
  value(column, code) {
    if (code === 255) return "none";
    if (column.levels.length) return column.levels[code];
    return (column.low + (code / 254) * (column.high - column.low)).toPrecision(3);
  }
  about(i) {
    const first = this.data.columns[0];
    const lines = [`${first.name}: ${this.value(first, this.clusters[i])}`];
    if (this.index) lines.push(`${this.column.name}: ${this.value(this.column, this.codes[i])}`);
    return lines.join("\n");
  }
  legend() {
    const box = $("legend");
    box.replaceChildren();
    $("all").hidden = this.only === null;
    const { levels, colours, low, high } = this.column;
    if (!levels.length) {
      const bar = make("div", undefined, { class: "ramp" });
      const stops = [0, 50, 100, 150, 200, 254].map((s) => `rgb(${shade(s).join(",")})`);
      bar.style.background = `linear-gradient(to right, ${stops.join(",")})`;
      const ends = make("div", undefined, { class: "ends" });
      ends.append(make("span", Number(low).toPrecision(3)), make("span", Number(high).toPrecision(3)));
      box.append(bar, ends);
      return;
    }
    const counts = new Array(256).fill(0);
    for (const code of this.codes) counts[code]++;
    levels.forEach((level, code) => {
      const button = make("button", undefined, { type: "button", "aria-pressed": String(this.only === code) });
      const dot = make("span", undefined, { class: "dot" });
      dot.style.background = colours[code];
      button.append(dot, make("span", short(level, 120), { class: "level" }), make("span", counts[code].toLocaleString("en"), { class: "count" }));
      button.title = level;
      button.addEventListener("click", () => this.isolate(code));
      box.append(button);
    });
  }
}
// A long name is cut in the middle: those of kindred types begin alike, and differ in the end.
const short = (text, n) => (text.length > n ? `${text.slice(0, n - 1 - (n >> 1)).trimEnd()}…${text.slice(-(n >> 1)).trimStart()}` : text);
// The same order on every page: cells of no cluster lie on top of others.
function shuffled(n) {
  const order = new Uint32Array(n).map((_, i) => i);
  let state = 1;
  for (let i = n - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = state % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

// The table of markers: cluster, search, sort, copy, CSV.
class Markers {
  constructor({ columns, kinds, rows }, viewer) {
    Object.assign(this, { columns, kinds, rows, viewer, by: null, down: false, most: 200 });
    const clusters = [...new Set(rows.map((row) => row[0]))], choose = $("marker-cluster");
    choose.append(make("option", `all ${columns[0]}s`, { value: "" }));
    for (const cluster of clusters) choose.append(make("option", cluster, { value: cluster }));
    if (clusters.length > 1) choose.value = clusters[0];
    choose.addEventListener("change", () => this.draw());
    $("marker-search").addEventListener("input", () => this.draw());
    $("marker-copy").addEventListener("click", () => this.copy());
    $("marker-csv").addEventListener("click", () => this.save());
    const head = $("marker-table").tHead.rows[0];
    columns.forEach((name, i) => {
      const button = make("button", name, { type: "button" });
      button.addEventListener("click", () => {
        [this.by, this.down] = [i, this.by === i ? !this.down : typeof rows[0][i] === "number"];
        this.draw();
      });
      const cell = make("th", undefined, { scope: "col" });
      cell.append(button);
      head.append(cell);
    });
    this.draw();
  }
  chosen() {
    const cluster = $("marker-cluster").value, text = $("marker-search").value.trim().toLowerCase();
    const rows = this.rows.filter((row) => (!cluster || row[0] === cluster) && (!text || row[1].toLowerCase().includes(text)));
    if (this.by === null) return rows;
    const sign = this.down ? -1 : 1, by = this.by;
    return rows.sort((a, b) => sign * (typeof a[by] === "number" ? a[by] - b[by] : a[by].localeCompare(b[by])));
  }
  draw() {
    const body = $("marker-table").tBodies[0], rows = this.chosen();
    $("marker-table").classList.toggle("one", $("marker-cluster").value !== "");
    body.replaceChildren(...rows.slice(0, this.most).map((row) => {
      const line = make("tr");
      row.forEach((value, i) => {
        const cell = make("td", typeof value === "number" ? shownNumber(value, this.kinds[i]) : value, typeof value === "number" ? { class: "n" } : {});
        if (i === 1) cell.className = "genes";
        line.append(cell);
      });
      return line;
    }));
    [...$("marker-table").tHead.rows[0].cells].forEach((cell, i) => {
      cell.setAttribute("aria-sort", i !== this.by ? "none" : this.down ? "descending" : "ascending");
    });
    $("marker-count").textContent = rows.length > this.most ? `The first ${this.most} of ${rows.length.toLocaleString("en")} rows.` : "";
  }
  async copy() {
    const genes = [...new Set(this.chosen().map((row) => row[1]))].join("\n");
    try {
      await navigator.clipboard.writeText(genes);
    } catch {
      const area = make("textarea", genes);
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    $("marker-count").textContent = "The genes are copied.";
  }
  save() {
    // A text that begins like a formula would be one in a spreadsheet.
    const safe = (value) => (typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : value);
    const quoted = (value) => `"${String(safe(value)).replaceAll('"', '""')}"`;
    const text = [this.columns, ...this.chosen()].map((row) => row.map(quoted).join(",")).join("\r\n");
    download("markers.csv", new Blob([text], { type: "text/csv" }));
  }
}
// No more digits than a number has: a p value of 0 is only smaller than the smallest number there is.
function shownNumber(value, kind) {
  if (kind === "score") return value.toFixed(1);
  if (kind === "p" && value < 1e-300) return "< 1e-300";
  return kind === "p" && value < 1e-3 ? value.toExponential(1) : value.toFixed(2);
}

// Any other table: a click on a heading sorts it.
function sortable(table) {
  const head = table.tHead && table.tHead.rows[0];
  if (!head || table.id === "marker-table" || table.tBodies[0].rows.length < 2) return;
  [...head.cells].forEach((cell, i) => {
    if (!cell.textContent.trim()) return;
    const button = make("button", cell.textContent, { type: "button" });
    cell.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = cell.getAttribute("aria-sort") === "ascending";
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[i].textContent.trim();
      const number = (text) => Number(text.replaceAll(",", "").replace("%", ""));
      const rows = [...table.tBodies[0].rows];
      const numeric = rows.every((row) => !Number.isNaN(number(key(row))));
      rows.sort((a, b) => (numeric ? number(key(a)) - number(key(b)) : key(a).localeCompare(key(b))) * (down ? -1 : 1));
      table.tBodies[0].append(...rows);
    });
  });
}

async function main() {
  const data = JSON.parse($("data").textContent);
  const viewer = new Viewer(data);
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    viewer.paint(); viewer.legend(); viewer.draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { viewer.paint(); viewer.legend(); viewer.draw(); });
  for (const table of document.querySelectorAll("table")) sortable(table);
  savableFigures();
  if (data.umap || data.space) await viewer.start();
  if ($("marker-table")) new Markers(JSON.parse(new TextDecoder().decode(await unpack(data.markers))), viewer);
  document.documentElement.dataset.ready = "yes";
}
main();
