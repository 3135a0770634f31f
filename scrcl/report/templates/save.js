// Pictures of the page as files: a map with its legend as PNG, in the size of a slide; a drawing as SVG, for a paper.
const PICTURE_WIDTH = 2400;

function download(name, blob) {
  const link = make("a", "", { download: name.replace(/[^\w.-]+/g, "_"), href: URL.createObjectURL(blob) });
  link.click();
  URL.revokeObjectURL(link.href);
}

function saveButton(text, save) {
  const button = make("button", text, { type: "button", class: "save" });
  button.addEventListener("click", save);
  return button;
}

// The map as it is shown: colours, zoom, one group alone.
function saveMap(map) {
  const { canvas, state } = map;
  map.draw(1, Math.max(PICTURE_WIDTH / canvas.getBoundingClientRect().width, 2));
  const unit = map.ratio, whole = make("canvas"), context = whole.getContext("2d");
  const wide = drawLegend(context, state, unit, canvas.width, canvas.height);
  whole.width = canvas.width + wide; whole.height = canvas.height;
  context.fillStyle = css("--background");
  context.fillRect(0, 0, whole.width, whole.height);
  context.drawImage(canvas, 0, 0);
  drawLegend(context, state, unit, canvas.width, canvas.height);
  map.draw();
  const bytes = Uint8Array.from(atob(whole.toDataURL("image/png").split(",")[1]), (c) => c.charCodeAt(0));
  download(`${canvas.id}-${state.column.name}.png`, new Blob([bytes], { type: "image/png" }));
}

// Draw the legend at the right of a map, and return how wide it is.
function drawLegend(context, state, unit, left, height) {
  const { name, levels, colours, low, high } = state.column, line = 19 * unit, margin = 14 * unit;
  const font = (weight) => `${weight} ${12 * unit}px system-ui, sans-serif`;
  context.font = font(600);
  context.textAlign = "left"; context.textBaseline = "middle"; context.fillStyle = css("--text");
  context.fillText(name, left + margin, margin + line / 2);
  const heading = context.measureText(name).width + 2 * margin;
  context.font = font(400);
  if (!levels.length) {
    const wide = 120 * unit, ramp = context.createLinearGradient(left + margin, 0, left + margin + wide, 0);
    for (let i = 0; i <= 10; i++) ramp.addColorStop(i / 10, `rgb(${shade(25.4 * i).join(",")})`);
    context.fillStyle = ramp;
    context.fillRect(left + margin, margin + line, wide, 10 * unit);
    context.fillStyle = css("--text");
    context.fillText(Number(low).toPrecision(3), left + margin, margin + 2.2 * line);
    context.textAlign = "right";
    context.fillText(Number(high).toPrecision(3), left + margin + wide, margin + 2.2 * line);
    return Math.max(wide + 2 * margin, heading);
  }
  const there = new Set(state.codes), shown = levels.map((level, code) => [short(level, 40), code]).filter(([, code]) => there.has(code));
  const rows = Math.max(Math.floor((height - 2 * margin) / line) - 1, 1), text = 16 * unit;
  const column = Math.max(...shown.map(([level]) => context.measureText(level).width)) + text + margin;
  shown.forEach(([level, code], i) => {
    const x = left + margin + column * Math.floor(i / rows), y = margin + line * (1.5 + (i % rows));
    context.fillStyle = colours[code];
    context.beginPath(); context.arc(x + 5 * unit, y, 5 * unit, 0, 2 * Math.PI); context.fill();
    context.fillStyle = css("--text");
    context.fillText(level, x + text, y);
  });
  return Math.max(column * Math.ceil(shown.length / rows) + margin, heading);
}

// Styles that a drawing takes from the page.
const STYLES = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "paint-order", "font-family", "font-size", "font-style", "font-weight"];

function standalone(svg, x) {
  const copy = svg.cloneNode(true), box = svg.getBoundingClientRect();
  const copies = [copy, ...copy.querySelectorAll("*")];
  [svg, ...svg.querySelectorAll("*")].forEach((element, i) => {
    const style = getComputedStyle(element);
    copies[i].removeAttribute("class");
    copies[i].setAttribute("style", STYLES.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
  });
  for (const [name, value] of Object.entries({ x, y: 0, width: box.width, height: box.height })) copy.setAttribute(name, value);
  return [copy, box];
}

// A figure of one drawing or more, side by side, with its legend below.
function figureAsSvg(figure) {
  const svgElement = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const name in attributes) element.setAttribute(name, attributes[name]);
    return element;
  };
  const whole = svgElement("svg", {});
  let [wide, high] = [0, 0];
  for (const svg of figure.querySelectorAll("svg.drawing")) {
    const [copy, box] = standalone(svg, wide);
    whole.append(copy);
    wide += box.width; high = Math.max(high, box.height);
  }
  const font = "font-family:sans-serif;font-size:12px", ink = css("--text");
  let [x, y] = [0, high + 18];
  for (const item of figure.querySelectorAll("ul.legend li")) {
    const needed = 30 + 8 * item.textContent.length;
    if (x > 0 && x + needed > wide) { x = 0; y += 18; }
    const name = svgElement("text", { x: x + 16, y, fill: ink, style: font });
    name.textContent = item.textContent;
    whole.append(svgElement("rect", { x, y: y - 10, width: 11, height: 11, fill: getComputedStyle(item.firstElementChild).backgroundColor }), name);
    x += needed; high = y + 8;
  }
  whole.prepend(svgElement("rect", { width: wide, height: high, fill: css("--background") }));
  for (const [name, value] of Object.entries({ width: wide, height: high, viewBox: `0 0 ${wide} ${high}` })) whole.setAttribute(name, value);
  return new XMLSerializer().serializeToString(whole);
}

function savableFigures() {
  for (const figure of document.querySelectorAll("figure:has(svg.drawing)")) {
    const heading = figure.closest("section").querySelector("h2").textContent;
    const save = () => download(`${heading}.svg`, new Blob([figureAsSvg(figure)], { type: "image/svg+xml" }));
    (figure.querySelector("figcaption") || figure).append(" ", saveButton("Save as SVG", save));
  }
}
