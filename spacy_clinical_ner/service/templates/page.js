"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const made = (tag, text = "", properties = {}) => Object.assign(document.createElement(tag), { textContent: text }, properties);
  const figure = (value) => (value === null ? "" : value.toFixed(2));
  let note = "", rows = [], place = (offset) => offset;

  // Offsets count characters as Python does: one outside of the basic plane is one, and not two as here.
  const placesIn = (text) => {
    if (!/[\ud800-\udfff]/.test(text)) return (offset) => offset;
    const places = [0];
    for (const character of text) places.push(places[places.length - 1] + character.length);
    return (offset) => places[offset];
  };

  const shown = () => {
    const least = Number(at("threshold").value);
    const kept = rows.filter((row) => row.confidence === null || row.confidence >= least);
    const ids = new Set(kept.filter((row) => row.kind === "mention").map((row) => row.id));
    return kept.filter((row) => row.kind === "mention" || (ids.has(row.head) && ids.has(row.tail)));
  };

  const said = (row) => row.fragments.map(([start, end]) => note.slice(place(start), place(end))).join(" … ");

  // The text in pieces, each under the same mentions; it has the colour of the shortest of them.
  const paint = (mentions, colours) => {
    const parts = mentions.flatMap((row) => row.fragments.map(([start, end]) => ({ start: place(start), end: place(end), row })));
    parts.sort((one, other) => one.start - other.start || other.end - one.end);
    const edges = [...new Set([0, note.length, ...parts.flatMap(({ start, end }) => [start, end])])].sort((a, b) => a - b);
    const text = at("text"), named = new Set();
    text.replaceChildren();
    let active = [], first = 0;
    for (let i = 0; i + 1 < edges.length; i += 1) {
      active = active.filter(({ end }) => end > edges[i]);
      for (; first < parts.length && parts[first].start === edges[i]; first += 1) {
        active.push(parts[first]);
        if (!named.has(parts[first].row)) text.append(made("u", `${parts[first].row.label} ${figure(parts[first].row.confidence)}`));
      }
      const piece = note.slice(edges[i], edges[i + 1]);
      if (!active.length) { text.append(piece); continue; }
      const inner = active.reduce((one, other) => (other.end - other.start < one.end - one.start ? other : one)).row;
      const span = made("span", piece, { className: `m ${colours.get(inner.label)}`, tabIndex: -1 });
      span.title = active.map(({ row }) => `${row.label} ${figure(row.confidence)}`).join(", ");
      span.dataset.mentions = active.map(({ row }) => row.id).join(" ");
      for (const { row } of active) named.add(row);
      text.append(span);
    }
  };

  const spans = (id) => [...document.querySelectorAll("#text span")].filter((span) => span.dataset.mentions.split(" ").includes(id));
  const show = (head, tail) => {
    document.querySelectorAll("#text .now").forEach((old) => old.classList.remove("now"));
    document.querySelectorAll("#text svg").forEach((old) => old.remove());
    for (const id of tail ? [head, tail] : [head]) for (const span of spans(id)) span.classList.add("now");
    const [first, last] = [spans(head)[0], tail && spans(tail)[0]];
    if (last) arc(first, last);
    first.scrollIntoView({ block: "center" });
    first.focus({ preventScroll: true });
  };

  const line = (cells, name, go) => {
    const row = made("tr"), head = made("th", "", { scope: "row" });
    const link = made("a", name, { href: "#text" });
    link.addEventListener("click", (event) => { event.preventDefault(); go(); });
    head.append(link);
    row.append(head, ...cells.map((cell) => made("td", cell)));
    return row;
  };

  const render = () => {
    const kept = shown(), mentions = kept.filter((row) => row.kind === "mention"), relations = kept.filter((row) => row.kind === "relation");
    const labels = [...new Set(rows.filter((row) => row.kind === "mention").map((row) => row.label))].sort();
    const colours = new Map(labels.map((label, number) => [label, `c${(number % 4) + 1}`]));
    const byId = new Map(mentions.map((row) => [row.id, row]));
    paint(mentions, colours);
    at("legend").replaceChildren(...labels.map((label) => {
      const item = made("li");
      item.append(made("span", label, { className: `m ${colours.get(label)}` }), ` ${mentions.filter((row) => row.label === label).length}`);
      return item;
    }));
    at("mentions").tBodies[0].replaceChildren(...mentions.map((row) => line(
      [row.label, figure(row.confidence), row.fragments.map(([start, end]) => `${start}–${end}`).join(", ")], said(row), () => show(row.id))));
    at("relations").tBodies[0].replaceChildren(...relations.map((row) => line(
      [row.label, said(byId.get(row.tail)), figure(row.confidence)], said(byId.get(row.head)), () => show(row.head, row.tail))));
    at("has-relations").hidden = !rows.some((row) => row.kind === "relation");
    at("at-least").value = figure(Number(at("threshold").value));
    const left = rows.length - kept.length;
    at("status").textContent = `${mentions.length} mentions, ${relations.length} relations` + (left ? `; ${left} below the threshold` : "");
  };

  const problem = (words) => { at("problem").textContent = words; at("problem").hidden = !words; };
  const post = async (path, body) => {
    const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    return answer;
  };

  const annotate = async () => {
    const text = at("note").value, button = at("annotate");
    problem("");
    button.disabled = true;
    at("status").textContent = "Annotating …";
    try {
      const found = await (await post("annotate", { text })).json();
      if (found.errors.length) throw new Error(found.errors[0].reason);
      note = text; rows = found.rows; place = placesIn(text);
      at("found").hidden = false;
      render();
    } catch (error) {
      at("status").textContent = "";
      problem(error.message);
    }
    button.disabled = false;
  };

  const save = (content, name) => {
    const link = made("a", "", { href: URL.createObjectURL(new Blob([content], { type: "text/plain" })), download: name });
    link.click();
    URL.revokeObjectURL(link.href);
  };

  at("form").addEventListener("submit", (event) => { event.preventDefault(); annotate(); });
  at("note").addEventListener("keydown", (event) => { if (event.key === "Enter" && event.ctrlKey) at("form").requestSubmit(); });
  at("threshold").addEventListener("input", render);
  at("txt").addEventListener("click", () => save(note, "note.txt"));
  at("ann").addEventListener("click", async () => {
    try {
      save(await (await post(`annotate/brat?threshold=${at("threshold").value}`, { text: note })).text(), "note.ann");
    } catch (error) { problem(error.message); }
  });
  fetch("version").then((answer) => answer.json()).then(({ pipeline }) => {
    at("pipeline").textContent = `${pipeline.name} ${pipeline.version}`;
  });
})();
