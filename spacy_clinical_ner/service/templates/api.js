"use strict";
(async () => {
  const made = (tag, text = "", properties = {}) => Object.assign(document.createElement(tag), { textContent: text }, properties);
  const api = await (await fetch("openapi.json")).json();
  const found = (schema) => (schema && schema.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema);
  const type = (schema) => {
    if (schema.$ref) return schema.$ref.split("/").pop();
    if (schema.anyOf) return schema.anyOf.map(type).join(" or ");
    return schema.type === "array" ? `list of ${type(schema.items)}` : schema.type || "any";
  };

  const table = (caption, rows) => {
    const box = made("div", "", { className: "scroll", tabIndex: 0 }), made_table = made("table");
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", caption);
    made_table.append(made("caption", caption));
    const head = made_table.createTHead().insertRow(), body = made_table.createTBody();
    head.append(...["Name", "Type", "Default", "Meaning"].map((name) => made("th", name, { scope: "col" })));
    for (const [name, schema, required, meaning] of rows) {
      const row = body.insertRow(), value = schema.default;
      row.append(made("th", name, { scope: "row" }), made("td", type(schema)));
      row.append(made("td", required ? "required" : value === undefined ? "" : JSON.stringify(value)), made("td", meaning || ""));
    }
    box.append(made_table);
    return box;
  };
  const fields = (caption, schema) => table(caption, Object.entries(schema.properties).map(
    ([name, each]) => [name, each, (schema.required || []).includes(name), each.description]));

  const main = document.getElementById("main");
  document.getElementById("pipeline").textContent = `${api.info.title}, by spacy-clinical-ner ${api.info.version}.`;
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, what] of Object.entries(methods)) {
      const title = made("h2"), body = what.requestBody && found(what.requestBody.content["application/json"].schema);
      title.append(made("code", `${method.toUpperCase()} ${path}`), ` ${what.summary}`);
      main.append(title, made("p", what.description || ""));
      if (body) main.append(fields("Body, in JSON", body));
      if (what.parameters) main.append(table("In the address", what.parameters.map((each) => [each.name, each.schema, each.required, each.description])));
      main.append(made("p", `Answers: ${Object.entries(what.responses).map(([status, answer]) => {
        const content = Object.values(answer.content || {})[0];
        return `${status} ${content && content.schema.$ref ? type(content.schema) : answer.description}`;
      }).join("; ")}`));
    }
  }
  main.append(made("h2", "What is sent and answered"));
  for (const name of ["OneNote", "Answer", "Row", "Failure", "Problem"]) main.append(fields(name, api.components.schemas[name]));
  main.removeAttribute("aria-busy");
})();
