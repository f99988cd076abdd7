// Thresholds: a slider on a rule's limit, what it would keep, the documents around it, and the setting to copy.
import { ask, askLatest, card, copy, count, difference, documents, drawn, element, number, selectOf, share } from "./elements.js";

let started = false;
let settings = [];
const place = (name) => document.getElementById(name);

function histogram(made, limit, low, high) {
  const width = 600, height = 120, top = Math.max(...made.counts, 1), bins = made.counts.length;
  const at = (value) => (width * (value - made.edges[0])) / (made.edges[bins] - made.edges[0] || 1);
  const bars = made.counts.map((found, bin) => drawn("rect", { x: at(made.edges[bin]), width: Math.max(1, width / bins - 1), y: height - (height * Math.sqrt(found)) / Math.sqrt(top), height: (height * Math.sqrt(found)) / Math.sqrt(top), class: "bar" }));
  const line = limit === null ? [] : [drawn("line", { x1: at(limit), x2: at(limit), y1: 0, y2: height, class: "limit" })];
  const title = drawn("title", {});
  title.textContent = `Documents by what the rule saw, from ${number(low)} to ${number(high)}; heights are square roots`;
  return drawn("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", class: "histogram" }, title, ...bars, ...line);
}

function examples(title, found, open, none) {
  return element("section", { class: "plainlist" }, element("h3", {}, `${title}: ${documents(found.documents)}`),
    found.examples.length ? found.examples.map((row) => card(row, open, element("span", { class: "badge" }, row.seen === null ? row.now : `${number(row.seen)}${row.limit === null ? "" : ` / ${number(row.limit)}`} · ${row.now}`))) : element("p", { class: "soft small" }, none));
}

function table(made) {
  const before = new Map(made.before), after = new Map(made.after);
  const names = [...new Set([...before.keys(), ...after.keys()])].sort((a, b) => Math.max(before.get(b) || 0, after.get(b) || 0) - Math.max(before.get(a) || 0, after.get(a) || 0));
  const rows = names.map((name) => {
    const [a, b] = [before.get(name) || 0, after.get(name) || 0];
    return element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "num" }, count(a)), element("td", { class: "num" }, count(b)), element("td", { class: "num" }, a === b ? "" : difference(b - a)));
  });
  return element("div", { class: "scroll" }, element("table", {}, element("caption", {}, "What the node does with its documents"),
    element("thead", {}, element("tr", {}, ["", "in the run", "then", "change"].map((name, at) => element("th", { scope: "col", class: at ? "num" : null }, name)))), element("tbody", {}, rows)));
}

function followed(found) {
  const rows = [];
  for (const [name, node] of Object.entries(found.nodes)) {
    const sides = new Map();
    for (const [at, side] of [[0, node.before], [1, node.after]]) {
      for (const one of side) { const key = one.rule ? `${one.fate}: ${one.rule}` : one.fate; const pair = sides.get(key) || [0, 0]; pair[at] += one.documents; sides.set(key, pair); }
    }
    let first = true;
    for (const [key, [a, b]] of sides) {
      rows.push(element("tr", {}, element("th", { scope: "row" }, first ? `${name}${node.exact ? "" : " *"}` : ""), element("td", {}, key), element("td", { class: "num" }, count(a)), element("td", { class: "num" }, count(b)), element("td", { class: "num" }, a === b ? "" : difference(b - a))));
      first = false;
    }
  }
  for (const [name, ends] of Object.entries(found.outputs)) {
    rows.push(element("tr", {}, element("th", { scope: "row" }, `→ ${name}${ends.exact ? "" : " *"}`), element("td", {}, "in the output"), element("td", { class: "num" }, count(ends.before)), element("td", { class: "num" }, count(ends.after)), element("td", { class: "num" }, ends.before === ends.after ? "" : difference(ends.after - ends.before))));
  }
  const why = Object.entries(found.nodes).filter(([, node]) => !node.exact).map(([name, node]) => element("li", {}, `${name}: ${node.why_not}`));
  return [element("div", { class: "scroll" }, element("table", {}, element("thead", {}, element("tr", {}, ["node", "", "in the run", "then", "change"].map((name, at) => element("th", { scope: "col", class: at > 1 ? "num" : null }, name)))), element("tbody", {}, rows))),
    why.length ? element("div", { class: "notice warn" }, element("p", {}, element("strong", {}, "* not what a run would find, since")), element("ul", {}, why)) : null,
    Object.entries(found.unknown).map(([name, newly]) => element("p", { class: "small" }, `Unknown: ${documents(newly)} would come to ${name} that did not come to it in the run; only a run can tell their fate.`))];
}

function shownResult(made, about, open, fail) {
  const changed = made.kept_after - made.kept_before;
  const setting = made.set ? element("section", {}, element("h3", {}, "The setting"),
    element("pre", { class: "yaml", tabindex: 0, id: "yaml" }, made.yaml),
    element("p", { class: "buttons" }, element("button", { class: "button primary", id: "copy", onclick: (event) => copy(made.yaml, event.target) }, "Copy"),
      element("button", { class: "button", id: "follow", onclick: async (event) => {
        event.target.disabled = true;
        place("followed").replaceChildren(element("p", { class: "soft" }, "Following the documents through the whole run…"));
        try { place("followed").replaceChildren(...followed(await ask("whatif", { set: made.set })).flat().filter(Boolean)); } catch (error) { place("followed").replaceChildren(element("p", { class: "notice warn" }, error.message)); }
        event.target.disabled = false;
      } }, "Follow through the whole run")),
    element("p", { class: "small soft" }, "To all: ", element("code", {}, `gristmill run CONFIG --set '${made.set}' --reuse ${about.folder} --output NEW`)),
    element("div", { id: "followed", "aria-live": "polite" })) : null;
  const nodes = [
    element("dl", { class: "figures" },
      element("div", {}, element("dt", {}, "kept without a mark, in the run"), element("dd", {}, count(made.kept_before))),
      element("div", {}, element("dt", {}, "then"), element("dd", { id: "kept-after" }, count(made.kept_after))),
      element("div", {}, element("dt", {}, "change"), element("dd", { class: changed < 0 ? "down" : changed > 0 ? "up" : "" }, difference(changed))),
      element("div", {}, element("dt", {}, "of its documents"), element("dd", {}, share(made.kept_after, made.documents)))),
    made.every > 1 ? element("p", { class: "notice" }, `Counted over every ${made.every}th document.`) : null,
    setting,
    made.set ? element("div", { class: "two" }, examples("Would be let in", made.lets_in, open, "None."), examples("Would be taken out", made.takes_out, open, "None.")) : null,
    made.fails ? element("div", { class: "two" }, examples("Fail the rule, closest first", made.fails, open, "None."), examples("Pass it, closest first", made.passes, open, "None.")) : null,
    table(made),
  ];
  place("result").replaceChildren(...nodes.filter(Boolean));
}

export function thresholds(root, about, open, fail) {
  if (started) { return; }
  started = true;
  settings = about.thresholds.flatMap((node) => node.settings.map((one) => ({ ...one, node: node.node })));
  const hits = new Map(about.facets.rules.map(([node, , rule, found]) => [`${node}\t${rule}`, found]));
  const fixed = about.thresholds.filter((node) => node.why_not);
  const why = fixed.length ? element("details", {}, element("summary", {}, `${fixed.length} node${fixed.length > 1 ? "s" : ""} whose thresholds cannot be moved here`), element("ul", {}, fixed.map((node) => element("li", {}, `${node.node}: ${node.why_not}`)))) : null;
  if (!settings.length) {
    root.replaceChildren(...[element("p", { class: "notice warn" }, about.no_thresholds || "No threshold of this run can be moved: no node decides from signals that the output keeps."), why].filter(Boolean));
    return;
  }
  const name = (one) => `${one.node}: ${one.rule || one.setting}${hits.get(`${one.node}\t${one.rule}`) ? ` (${count(hits.get(`${one.node}\t${one.rule}`))})` : ""}`;
  const order = settings.map((one, at) => [String(at), name(one), hits.get(`${one.node}\t${one.rule}`) || 0]).sort((a, b) => b[2] - a[2]);
  const labels = about.facets.languages.map(([label, found]) => [label, `${label} (${count(found)})`]);
  let value = null;
  let last = null;
  const slider = element("input", { type: "range", id: "slider", step: "any", "aria-label": "Limit", oninput: () => { value = rounded(Number(slider.value)); box.value = value; line(); later(); } });
  const box = element("input", { type: "number", id: "limit", step: "any", onchange: () => { value = box.value === "" ? null : Number(box.value); slider.value = box.value; line(); move(); } });
  const back = element("button", { class: "button", onclick: () => { value = null; move(true); } }, "As in the run");
  root.replaceChildren(...[
    element("section", { class: "knobs" },
      element("div", { class: "row" }, selectOf("setting", "Rule (documents it decided)", order, order[0][0], () => { value = null; move(true); }),
        element("div", { id: "by-language" }, selectOf("of", "For", [["", "all languages"], ...labels], "", () => move(true)))),
      element("div", { id: "histogram" }), element("p", { class: "ends small soft", id: "ends" }), slider,
      element("p", { class: "buttons" }, element("label", { for: "limit" }, "Limit "), box, back),
      why),
    element("div", { id: "result", "aria-live": "off" })].filter(Boolean));
  const rounded = (number) => (last?.histogram?.whole ? Math.round(number) : Number(number.toPrecision(3)));
  let timer = null;
  const later = () => { clearTimeout(timer); timer = setTimeout(() => move(), 120); };
  const line = () => { if (last?.histogram) { place("histogram").replaceChildren(histogram(last.histogram, value, last.histogram.edges[0], last.histogram.edges.at(-1))); } };
  async function move(fresh) {
    // Until the setting's own range is there, the slider has another one's: a move would ask for a limit that nobody chose.
    if (fresh) { clearTimeout(timer); slider.disabled = box.disabled = true; }
    const one = settings[Number(place("f-setting").value)];
    place("by-language").hidden = !one.by_language || labels.length < 2;
    const language = place("by-language").hidden ? "" : place("f-of").value;
    try {
      const made = await askLatest("move", { node: one.node, rule: one.rule, setting: one.setting, value: fresh ? "" : value, language });
      if (!made) { return; }
      if (fresh || last === null) {
        last = made;
        const form = made.histogram;
        slider.disabled = !form;
        box.disabled = false;
        if (form) {
          slider.min = form.edges[0]; slider.max = form.edges.at(-1);
          value = form.limits ? form.limits[1] : (form.edges[0] + form.edges.at(-1)) / 2;
          slider.step = form.whole ? 1 : (form.edges.at(-1) - form.edges[0]) / 500;
          slider.value = value; box.value = number(value).replace(/,/g, "");
          const spread = form.limits && form.limits[0] !== form.limits[2] ? `; the limits of languages go from ${number(form.limits[0])} to ${number(form.limits[2])}` : "";
          place("ends").textContent = `what the rule saw, from ${number(form.edges[0])} to ${number(form.edges.at(-1))}${spread}`;
        } else { place("histogram").replaceChildren(); place("ends").textContent = "This rule compares no number: type a value."; box.value = ""; value = null; }
        line();
      }
      shownResult(made, about, open, fail);
      root.dataset.shown = String(Number(root.dataset.shown || 0) + 1);
    } catch (error) { place("result").replaceChildren(element("p", { class: "notice warn" }, error.message)); }
  }
  move(true);
}
