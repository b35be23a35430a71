"use strict";
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 680px)");
  const touch = window.matchMedia("(pointer: coarse)");

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function paintTrace(trace) {
    const own = colour(trace.meta.role);
    const marker = { ...trace.marker, color: own };
    // The outline keeps a bar narrower than a pixel visible.
    if (trace.type === "bar") return { ...trace, marker: { ...marker, line: { color: own, width: 1 } } };
    return { ...trace, marker, line: { ...trace.line, color: own } };
  }

  function paintAxes(layout) {
    const axes = Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key));
    const look = { gridcolor: colour("grid"), linecolor: colour("rule"), zeroline: false, tickcolor: colour("rule") };
    const painted = axes.map((key) => {
      const limits = key.startsWith("x") ? { nticks: narrow.matches ? 5 : 10, showspikes: layout.hovermode === "x unified" } : { nticks: 6, showspikes: false };
      const spike = { spikemode: "across", spikethickness: 1, spikedash: "dot", spikecolor: colour("muted") };
      const title = { ...(layout[key].title || {}), font: { size: 13, color: colour("muted") } };
      return [key, { ...look, ...limits, ...spike, ...layout[key], title, fixedrange: touch.matches }];
    });
    return Object.fromEntries(painted);
  }

  function paintLayout(layout) {
    const ink = colour("ink");
    const font = { family: "system-ui, sans-serif", size: 13, color: ink };
    const label = { bgcolor: colour("card"), bordercolor: colour("rule"), font };
    return {
      ...layout,
      ...paintAxes(layout),
      autosize: true,
      paper_bgcolor: colour("card"),
      plot_bgcolor: colour("card"),
      font,
      margin: { l: 8, r: narrow.matches ? 8 : 16, t: 8, b: 8 },
      hoverlabel: label,
      dragmode: touch.matches ? false : "zoom",
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom" },
      shapes: (layout.shapes || []).map((shape) => ({ ...shape, line: { ...shape.line, color: colour("muted") } })),
    };
  }

  // No tool bar: it covers the legend, the keyboard cannot reach it, and one of its buttons, on by default,
  // sends the figures to the library's maker.
  const config = { responsive: true, displayModeBar: false, showSendToCloud: false, displaylogo: false, doubleClick: "reset" };

  function draw(place) {
    const figure = JSON.parse(document.getElementById(`${place.id}-figure`).textContent);
    return Plotly.react(place, figure.data.map(paintTrace), paintLayout(figure.layout), config);
  }

  function drawAll() {
    document.querySelectorAll(".plot").forEach(draw);
  }

  function say(button, text) {
    const before = button.dataset.label;
    button.textContent = text;
    window.setTimeout(() => { button.textContent = before; }, 2000);
  }

  function select(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  async function copy(button) {
    const command = document.getElementById(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(command.textContent);
      say(button, "Copied");
    } catch {
      select(command);
      say(button, "Selected: press Ctrl+C");
    }
  }

  document.querySelectorAll("button[data-copies]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => copy(button));
  });
  if (window.Plotly) {
    drawAll();
    dark.addEventListener("change", drawAll);
    narrow.addEventListener("change", drawAll);
  }
})();
