// A table of galaxies from the JSON that lenspipe.runs.listing makes, by DataTables.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("listing-data").textContent);
  const names = data.columns.map((column) => column.name);
  const at = Object.fromEntries(names.map((name, i) => [name, i]));
  const MINOR = new Set(["ra", "dec", "type", "known_as"]);
  const TITLES = { ra: "RA (deg)", dec: "Dec (deg)", known_as: "known as" };
  const DIGITS = { ra: 5, dec: 5 };
  const identity = at.name ?? at.id;

  const escape = (text) =>
    String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

  const format = (name, value) => {
    if (value === null || value === "") return "";
    if (Array.isArray(value)) return value[1];
    if (name.startsWith("mag_")) return value.toFixed(2);
    if (DIGITS[name]) return value.toFixed(DIGITS[name]);
    return typeof value === "number" && !Number.isInteger(value) ? String(+value.toPrecision(6)) : String(value);
  };

  const page = (number) => data.pages[Math.floor(data.places[number] / data.per_page)];

  const image = (number, name) => {
    const [x, y] = data.corners[data.places[number] % data.per_page];
    const scale = 101 / data.tile;
    const style =
      `background-image:url('${encodeURI(page(number))}');` +
      `background-size:${data.width * scale}px auto;` +
      `background-position:${-x * scale}px ${-y * scale}px`;
    return (
      `<a class="thumb" style="${escape(style)}" href="${escape(encodeURI(page(number)))}">` +
      `<span class="hidden-text">page with the cutout of ${escape(name)}</span></a>`
    );
  };

  const opened = (row) => {
    const items = data.columns.map((column, i) => {
      if (column.name === "viewer") return "";
      const value = format(column.name, row[i]) || "none";
      const unit = column.unit && value !== "none" ? ` ${column.unit}` : "";
      return (
        `<div title="${escape(column.about)}"><dt>${escape(column.name)}</dt>` +
        `<dd>${escape(value + unit)}</dd></div>`
      );
    });
    const row_id = escape(encodeURIComponent(row[identity]));
    return `<div class="opened"><dl>${items.join("")}</dl><a href="#${row_id}">link to this row</a></div>`;
  };

  const column = (name) => {
    const i = at[name];
    const numeric = data.rows.some((row) => typeof row[i] === "number" || Array.isArray(row[i]));
    const title = TITLES[name] ?? (name.startsWith("mag_") ? `${name.slice(4)} (mag)` : name);
    return {
      title: escape(title),
      className: [numeric ? "number" : "text", MINOR.has(name) ? "minor" : ""].join(" ").trim(),
      type: numeric ? "num" : "string",
      data: null,
      render: (_, type, row) => {
        const value = row.values[i];
        const raw = Array.isArray(value) ? value[0] : value;
        if (type === "sort" || type === "type") return raw ?? (numeric ? -Infinity : "");
        return escape(format(name, value));
      },
    };
  };

  const rows = data.rows.map((values, number) => ({ values, number }));
  const viewer = at.viewer;
  const table = new DataTable("#listing", {
    data: rows,
    deferRender: true,
    autoWidth: false,
    order: [],
    pageLength: 25,
    lengthMenu: [10, 25, 100],
    language: {
      search: "Search:",
      info: "_START_ to _END_ of _TOTAL_",
      infoEmpty: "none",
      infoFiltered: "(of _MAX_)",
      lengthMenu: "_MENU_ per page",
      emptyTable: "No galaxy passed the threshold.",
      zeroRecords: "No row matches.",
    },
    columns: [
      {
        title: "cutout",
        data: null,
        orderable: false,
        searchable: false,
        render: (_, type, row) =>
          type === "display" ? image(row.number, row.values[identity]) : "",
      },
      ...data.shown.map(column),
      {
        title: "more",
        data: null,
        orderable: false,
        searchable: false,
        render: (_, type, row) => {
          if (type !== "display") return "";
          const name = escape(row.values[identity]);
          const sky = viewer !== undefined && row.values[viewer];
          return (
            `<button type="button" aria-expanded="false">row<span class="hidden-text"> of ${name}</span></button> ` +
            `<a href="${escape(encodeURI(page(row.number)))}">page<span class="hidden-text"> of ${name}</span></a>` +
            (sky ? ` <a href="${escape(sky)}">sky<span class="hidden-text"> viewer at ${name}</span></a>` : "")
          );
        },
      },
    ],
  });

  const toggle = (tr, show) => {
    const row = table.row(tr);
    if (show) row.child(opened(row.data().values)).show();
    else row.child.hide();
    tr.querySelector("button").ariaExpanded = String(show);
  };
  document.querySelector("#listing").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    const tr = button && button.closest("tr");
    if (tr && table.row(tr).data()) toggle(tr, button.ariaExpanded !== "true");
  });

  const follow = () => {
    const wanted = decodeURIComponent(location.hash.slice(1));
    const number = data.rows.findIndex((row) => row[identity] === wanted || row[at.id] === wanted);
    if (!wanted || number < 0) return;
    table.search("").order([]).draw();
    table.page(Math.floor(number / table.page.len())).draw("page");
    const tr = table.row(number).node();
    toggle(tr, true);
    tr.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", follow);
  follow();
})();
