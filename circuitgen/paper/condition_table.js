(() => {
  const box = document.currentScript.closest(".condition-table");
  const data = JSON.parse(box.querySelector("script[type='application/json']").textContent);
  const body = box.querySelector("tbody");
  const headings = [...box.querySelectorAll("thead th")];
  const named = Object.fromEntries(headings.map((th, column) => [th.textContent, column]));
  const minus = (text) => text.replace("-", "−");
  const signed = (value) => minus((value > 0 ? "+" : "") + value.toFixed(2));

  const element = (name, attributes = {}, ...children) => {
    const svg = ["svg", "rect", "text", "path", "line", "title"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  const plot = (title, width, height, parts, caption, kind = "") =>
    element("figure", kind ? { class: kind } : {},
      element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title }, ...parts),
      element("figcaption", {}, caption));

  // The circuit's heads in a grid of all heads, shaded by the root of the size of their effect.
  const drawMap = (row, model) => {
    const side = 15, left = 52, top = 4;
    const x = (layer) => left + side * layer, y = (head) => top + side * head;
    const parts = [element("rect", { class: "cell", x: left, y: top, width: side * model.layers, height: side * model.heads })];
    const heads = Object.entries(row.effects).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
    for (const [name, effect] of heads) {
      const [layer, head] = name.slice(1).split("H").map(Number);
      const [letter, role] = model.roles[name] || ["", ""];
      const depth = Math.sqrt(Math.min(1, Math.abs(effect) / model.limit));
      parts.push(element("rect", { class: effect < 0 ? "head lowers" : "head", x: x(layer) + 0.5, y: y(head) + 0.5, width: side - 1, height: side - 1, "fill-opacity": (0.75 * depth).toFixed(2) },
        element("title", {}, `${name}, ${role}: ${signed(effect)} logits`)));
      parts.push(element("text", { x: x(layer) + side / 2, y: y(head) + 12, "text-anchor": "middle", "pointer-events": "none" }, letter));
    }
    const step = model.layers > 16 ? 5 : 2, bottom = y(model.heads);
    for (let layer = 0; layer < model.layers; layer += step)
      parts.push(element("text", { x: x(layer) + side / 2, y: bottom + 13, "text-anchor": "middle" }, layer));
    for (let head = 0; head < model.heads; head += 2)
      parts.push(element("text", { x: left - 5, y: y(head) + 12, "text-anchor": "end" }, head));
    parts.push(element("text", { x: left + (side * model.layers) / 2, y: bottom + 28, "text-anchor": "middle" }, "layer"));
    parts.push(element("text", { x: 0, y: top + 12 }, "head"));
    const used = new Map(Object.values(model.roles).map(([letter, role]) => [letter, role]));
    const strongest = heads.slice(0, 3).map(([name, effect]) => `${name} ${signed(effect)}`).join(", ");
    return plot(`Heads of ${model.circuit} by layer and head; strongest: ${strongest}.`, left + side * model.layers + 4, bottom + 32, parts,
      `Direct effect of each head of ${model.circuit} on the logit difference, mean over the prompts: blue raises it, orange lowers it, the deeper the more. Strongest: ${strongest} logits. ` +
      [...used].map(([letter, role]) => `${letter} ${role}`).join(", ") + ".", "map");
  };

  const drawSpread = (counts, base, bins, band, title, caption) => {
    const [low, high, n] = bins, width = 320, height = 96, left = 8, right = 8;
    const x = (value) => left + ((value - low) / (high - low)) * (width - left - right);
    const share = (values) => { const total = values.reduce((a, b) => a + b, 0) || 1; return values.map((value) => value / total); };
    const ours = share(counts), theirs = base ? share(base) : [];
    const most = Math.max(...ours, ...theirs) || 1;
    const y = (value) => 4 + height * (1 - value / most);
    const edge = (bin) => x(low + (bin * (high - low)) / n);
    const parts = [];
    if (band) parts.push(element("rect", { class: "band", x: x(band[0]), y: 4, width: x(band[1]) - x(band[0]), height }));
    ours.forEach((value, bin) => {
      if (value) parts.push(element("rect", { class: "bar", x: edge(bin) + 0.5, y: y(value), width: edge(bin + 1) - edge(bin) - 1, height: 4 + height - y(value) },
        element("title", {}, `${counts[bin]} prompts`)));
    });
    if (base) parts.push(element("path", { class: "base", d: "M" + theirs.flatMap((value, bin) => [`${edge(bin)} ${y(value)}`, `${edge(bin + 1)} ${y(value)}`]).join("L") }));
    parts.push(element("line", { class: "axis", x1: left, x2: width - right, y1: 4 + height, y2: 4 + height }));
    for (const tick of [low, ...(band || [0]), high])
      parts.push(element("text", { x: x(tick), y: height + 18, "text-anchor": tick === low ? "start" : tick === high ? "end" : "middle" }, minus(String(tick))));
    return plot(title, width, height + 24, parts, caption);
  };

  const describe = (row, model) => {
    const base = model.base === null || row === data.rows[model.base] ? null : data.rows[model.base];
    const prompt = element("p", { class: "prompt" });
    for (const [text, positions] of row.prompt)
      prompt.append(positions ? element("mark", {}, text, element("sub", {}, positions)) : text);
    prompt.append(" → ", element("strong", {}, row.answer));
    const line = base ? " Dashed: base." : "";
    const total = (counts) => counts.reduce((a, b) => a + b, 0), n = total(row.activation);
    const [low, high, bins] = data.bins.activation;
    const inBand = total(row.activation.slice(...data.band.map((end) => Math.round(((end - low) / (high - low)) * bins))));
    return element("div", { class: "inner" },
      element("p", {}, "The first prompt, with its semantic positions, and the name to predict:"),
      prompt,
      element("div", { class: "plots" },
        drawMap(row, model),
        drawSpread(row.activation, base && base.activation, data.bins.activation, data.band,
          `Activation of ${n} prompts; ${inBand} of them within ${data.band.join(" to ")}.`,
          `Activation of ${n} prompts${row.missing ? ` (missing for ${row.missing})` : ""}; band ${data.band.join(" to ")}; the first and last bars hold what lies beyond.${line}`),
        drawSpread(row.gap, base && base.gap, data.bins.gap, null,
          `Logit difference of the circuit less that of the model, by prompt; median ${signed(row.median)}.`,
          `LD of the circuit less LD of the model, in logits, by prompt; median ${signed(row.median)}.${line}`)));
  };

  const rows = [...body.rows].map((tr, number) => {
    const heading = tr.cells[0], name = heading.textContent, row = data.rows[number];
    const model = data.models[tr.cells[named.model].textContent];
    const id = `condition-details-${number}`;
    const button = element("button", { type: "button", "aria-expanded": "false", "aria-controls": id }, name);
    const details = element("tr", { id }, element("td", { class: "details", colspan: tr.cells.length }));
    details.hidden = true;
    heading.replaceChildren(button);
    tr.after(details);
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") !== "true";
      if (open && !details.cells[0].firstChild) details.cells[0].append(describe(row, model));
      button.setAttribute("aria-expanded", String(open));
      details.hidden = !open;
    });
    const words = [name, ...row.prompt.map((piece) => piece[0])].join(" ").toLowerCase();
    return { tr, button, details, words };
  });

  const sortKey = (one, column) => {
    const cell = one.tr.cells[column];
    if (!headings[column].dataset.numeric) return cell.textContent;
    return "value" in cell.dataset ? Number(cell.dataset.value) : NaN;
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  headings.forEach((th, column) => {
    const button = element("button", { type: "button" }, th.textContent);
    th.replaceChildren(button);
    th.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const down = th.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      // Rows without a number stay last either way.
      const keyed = rows.map((one) => [sortKey(one, column), one]);
      const known = keyed.filter(([key]) => !Number.isNaN(key)).sort(([a], [b]) => (down ? -1 : 1) * compare(a, b));
      const unknown = keyed.filter(([key]) => Number.isNaN(key));
      for (const [, one] of [...known, ...unknown]) body.append(one.tr, one.details);
    });
  });

  const form = box.querySelector("form"), count = box.querySelector(".count");
  const filter = () => {
    const wanted = form.elements.text.value.trim().toLowerCase();
    let shown = 0;
    for (const { tr, button, details, words } of rows) {
      const chosen = ["family", "model", "verdict"].every((name) => !form.elements[name].value || form.elements[name].value === tr.cells[named[name]].textContent);
      tr.hidden = !(chosen && words.includes(wanted));
      details.hidden = tr.hidden || button.getAttribute("aria-expanded") !== "true";
      shown += tr.hidden ? 0 : 1;
    }
    count.querySelector("[role=status]").textContent = `${shown} of ${rows.length} rows.`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = count.hidden = false;
  filter();
})();
