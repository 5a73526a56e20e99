"use strict";
/* The page's only script. Whatever comes from the ledger is put in as text (textContent), never as HTML. */

const EVERY = 1000; // milliseconds between two looks
const OVER = ["finished", "cancelled"];
const BEFORE = ["importing", "draft", "estimated", "approved"];
const STATES = ["accepted", "in_flight", "pending", "refused", "not_sent", "unknown"];
const LEVELS = ["view", "operate", "approve"];
let me = null;
let shown = null; // the part that is open: {part, name}
let timer = 0;
let turn = 0; // looks that began before another part was opened are thrown away

// --- small things -----------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);
const number = (value) => Number(value).toLocaleString("en");
const words = (value) => String(value).replaceAll("_", " ");
const may = (role) => LEVELS.indexOf(me.role) >= LEVELS.indexOf(role);
const when = (value) => (value ? new Date(value).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) : "–");
const roubles = (value) => (value === null || value === undefined ? "–" : `${Number(value).toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })} ₽`);

function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  for (const [size, word] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${word}`;
  return `${Math.round(Math.max(seconds, 0))} s`;
}

function el(name, content, attributes) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "click") node.addEventListener("click", value);
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value === true ? "" : value);
  }
  for (const part of [content].flat()) if (part !== null && part !== undefined) node.append(part instanceof Node ? part : String(part));
  return node;
}

function facts(list, pairs) {
  list.replaceChildren(...pairs.filter((pair) => pair && pair[1] !== null && pair[1] !== undefined && pair[1] !== "").map(
    ([name, value, isWide]) => el("div", [el("dt", name), el("dd", value)], { class: isWide ? "wide" : null })));
}

function rows(body, lines) {
  body.replaceChildren(...lines.map((cells) => el("tr", cells.map((cell) => (
    cell && cell.n !== undefined ? el("td", cell.n, { class: "n" }) : cell && cell.one !== undefined ? el("td", cell.one, { class: "one" }) : el("td", cell))))));
}

const button = (name, does, kind) => el("button", name, { type: "button", class: `button ${kind || ""}`, click: does });

let saidTimer = 0;
function say(text) {
  $("said").textContent = text;
  clearTimeout(saidTimer);
  saidTimer = setTimeout(() => { $("said").textContent = ""; }, 6000);
}

function alarm(text) {
  $("alarm").textContent = text;
  $("alarm").hidden = !text;
}

// --- calls ------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

async function call(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new Refused(0, "The page's server cannot be reached. Nothing is known of an order that was just given: look again.");
  }
  let body = {};
  try { body = await answer.json(); } catch { /* it was not ours to read */ }
  if (!answer.ok) {
    const outcome = body.outcome ? ` The message is ${words(body.outcome)}.` : "";
    throw new Refused(answer.status, (body.error || `The server answered ${answer.status}.`) + outcome);
  }
  return body;
}

const query = (fields) => new URLSearchParams(fields).toString();
const look = (path, fields) => call(fields ? `${path}?${query(fields)}` : path);
const order = (path, fields) => call(path, {
  method: "POST",
  headers: { "content-type": "application/json", "x-csrf-token": me ? me.token : "" },
  body: JSON.stringify(fields),
});

// --- the dialog of an order ---------------------------------------------------------------------

function ask({ title, text, fields, does, action }) {
  const dialog = $("dialog");
  $("d-title").textContent = title;
  $("d-text").textContent = text || "";
  $("d-text").hidden = !text;
  $("d-error").hidden = true;
  $("d-do").textContent = does;
  $("d-fields").replaceChildren(...fields.map((field) => {
    if (field.tick) return el("label", [el("input", null, { type: "checkbox", name: field.name, required: field.required }), el("span", field.label)], { class: "tick" });
    if (field.choices) return el("label", [field.label, el("select", field.choices.map(([value, label]) => el("option", label, { value })), { name: field.name })]);
    return el("label", [field.label, el("input", null, { name: field.name, required: field.required, inputmode: field.inputmode, placeholder: field.placeholder, autocomplete: "off" })]);
  }));
  const form = $("d-form");
  form.onsubmit = async (event) => {
    event.preventDefault();
    const given = {};
    for (const input of form.elements) if (input.name) given[input.name] = input.type === "checkbox" ? input.checked : input.value;
    $("d-do").disabled = true;
    try {
      const done = await action(given);
      dialog.close();
      say(done);
      refresh();
    } catch (error) {
      $("d-error").textContent = error.message;
      $("d-error").hidden = false;
    } finally {
      $("d-do").disabled = false;
    }
  };
  dialog.showModal();
}

const why = (label) => ({ name: "why", label: label || "Why, for the log", required: true });

// --- Now --------------------------------------------------------------------------------------

function logRows(orders, isOfOne) {
  return orders.map((one) => [
    { one: when(one.at) }, one.actor,
    words([one.action, isOfOne ? null : one.campaign, one.detail].filter(Boolean).join(" · ")),
    { n: one.count === null ? "" : number(one.count) }, one.why || "",
  ]);
}

const REASONS = { first: "the wave has left", budget: "the budget is used up" };
const reason = (one) => REASONS[one.reason] || one.reason || "";

function campaignLink(one) {
  return el("tr", [
    el("td", el("a", one.name, { href: `#campaign/${encodeURIComponent(one.name)}` })),
    el("td", [el("span", one.state, { class: "state", "data-is": one.state }), one.reason ? el("span", ` ${reason(one)}`, { class: "quiet small" }) : null]),
    one.messages === undefined ? null : el("td", number(one.messages), { class: "n" }),
    one.created_by === undefined ? null : el("td", one.created_by),
    one.created_at === undefined ? null : el("td", when(one.created_at)),
  ]);
}

function showNow({ overview: seen, log }) {
  const obstacles = [];
  if (seen.paused) obstacles.push(["bad", `Paused by an error of the account: ${seen.paused}. After fixing that: release.`]);
  if (seen.halted) obstacles.push(["bad", `Halted (${seen.halted === "all" ? "everything" : seen.halted}): ${seen.halted_why}`]);
  if (seen.braked) obstacles.push(["bad", `The gateway does not answer: ${number(seen.unanswered)} packets in a row. One message at a time is tried until one is answered.`]);
  if (!seen.workers.some((one) => one.is_running)) obstacles.push(["", "No worker runs: nothing is sent. Start one: smspilot worker."]);
  if (seen.expired) obstacles.push(["bad", `${number(seen.expired)} requests are beyond their lease, and no worker has recovered them.`]);
  if (Math.abs(seen.drift) > 5) obstacles.push(["", `This machine's clock and the database's differ by ${span(Math.abs(seen.drift))}.`]);
  $("now-obstacles").replaceChildren(...obstacles.map(([kind, text]) => el("p", text, { class: `notice ${kind}` })));
  rows($("now-due").tBodies[0], seen.waiting.map((one) => [one.kind, { n: number(one.messages) }, { n: span(one.oldest) }]));
  facts($("now-facts"), [
    ["on the wire", `${number(seen.in_flight)} in ${number(seen.requests)} requests`],
    ["unknown", `${number(seen.unknown)}, ${number(seen.unsettled)} not settled`],
    ["a second, last minute", number(seen.per_second) + (seen.rate_limit ? ` of ${number(seen.rate_limit)}` : "")],
    ["balance", seen.balance === null ? "not known" : roubles(seen.balance)],
    ["lasts for", seen.hours_left === null ? null : `${number(seen.hours_left)} h at the last hour's pace`],
    ["last callback", seen.called_at ? `${span((new Date(seen.at) - new Date(seen.called_at)) / 1000)} ago` : "never"],
    ["statuses followed", `${number(seen.following)} packets`],
    ["ledger", `${seen.database}, ${number(Math.ceil(seen.size / 1048576))} MiB`],
  ]);
  const isStopped = seen.halted || seen.paused || seen.braked;
  $("now-orders").replaceChildren(...(may("operate") ? [
    button("Halt marketing", () => halt(false), "bad"), button("Halt everything", () => halt(true), "bad"),
    isStopped ? button("Release", release, "main") : null,
  ] : []).filter(Boolean));
  $("now-workers").replaceChildren(seen.workers.length ? el("table", el("tbody", seen.workers.map((one) => el("tr", [
    el("td", one.name), el("td", one.version), el("td", one.slots ? `${one.slots} connections` : ""),
    el("td", one.is_running ? el("span", "running", { class: "state", "data-is": "running" }) : el("span", `lost, seen ${span(one.seen)} ago`, { class: "state", "data-is": "cancelled" })),
  ])))) : el("p", "None.", { class: "quiet" }));
  $("now-campaigns").replaceChildren(seen.campaigns.length
    ? el("table", el("tbody", seen.campaigns.map(campaignLink))) : el("p", "No campaign runs or is paused.", { class: "quiet" }));
  rows($("now-log").tBodies[0], logRows(log));
}

function halt(everything) {
  ask({
    title: everything ? "Halt everything" : "Halt marketing",
    text: "It holds on every machine. What waits is kept; what is on the wire cannot be called back.",
    fields: [why()], does: "Halt",
    action: async (given) => `Halted; ${number((await order("api/halt", { ...given, everything })).left_after)} messages left after the order.`,
  });
}

function release() {
  ask({
    title: "Release", text: "Ends a halt, a pause by an error of the account, and the brake.", fields: [why()], does: "Release",
    action: async (given) => { await order("api/release", given); return "Messages leave again."; },
  });
}

// --- Draft ------------------------------------------------------------------------------------

let uploaded = null;

function openDraft() {
  if (!may("operate")) { $("new").hidden = true; return; }
  $("upload-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const file = event.target.elements.list.files[0];
    if (!file) return;
    await busy(event.submitter, async () => {
      uploaded = await call(`api/upload?${query({ file: file.name })}`, { method: "POST", headers: { "content-type": "application/octet-stream", "x-csrf-token": me.token }, body: file });
      showSample(file.name);
    });
  });
  $("create-form").elements.text_column.addEventListener("change", showTemplate);
  $("create-form").addEventListener("submit", create);
}

function showSample(name) {
  const form = $("create-form");
  const { columns, rows: lines } = uploaded;
  $("sample").tHead.replaceChildren(el("tr", columns.map((column) => el("th", column))));
  rows($("sample").tBodies[0], lines.map((line) => columns.map((column) => line[column] || "")));
  const likely = (pattern) => columns.find((column) => pattern.test(column)) || "";
  const options = (first) => [first, ...columns.map((column) => [column, column])].filter(Boolean).map(([value, label]) => el("option", label, { value }));
  form.elements.to_column.replaceChildren(...options(["", "choose"]));
  form.elements.to_column.value = likely(/^to$|phone|телефон|номер|mobile|моб/i);
  form.elements.text_column.replaceChildren(...options(["", "a template"]));
  form.elements.text_column.value = likely(/^text$|текст|сообщение|message/i);
  if (!form.elements.name.value) form.elements.name.value = name.replace(/\.[^.]*$/, "").slice(0, 100);
  form.hidden = false;
  showTemplate();
  form.elements.name.focus();
}

function showTemplate() {
  const isTemplate = !$("create-form").elements.text_column.value;
  $("template-field").hidden = !isTemplate;
  $("create-form").elements.template.required = isTemplate;
}

async function create(event) {
  event.preventDefault();
  const fields = Object.fromEntries(new FormData(event.target));
  if (fields.text_column) fields.template = "";
  if (!fields.opens && !fields.closes) { fields.days = ""; fields.tz = ""; }
  if (fields.expires_at) fields.expires_at = new Date(fields.expires_at).toISOString();
  await busy(event.submitter, async () => {
    const made = await order("api/create", { ...fields, upload: uploaded.upload, encoding: uploaded.encoding });
    say(made.is_done ? "Imported as a draft. Nothing was sent." : "The import goes on in the background.");
    location.hash = `campaign/${encodeURIComponent(made.name)}`;
  });
}

async function busy(pressed, work) {
  pressed.disabled = true;
  try { await work(); alarm(""); } catch (error) { alarm(error.message); window.scrollTo(0, 0); } finally { pressed.disabled = false; }
}

function showList(found, states) {
  const fitting = found.campaigns.filter((one) => states.includes(one.state));
  const head = el("thead", el("tr", [el("th", "campaign"), el("th", "state"), el("th", "messages", { class: "n" }), el("th", "made by"), el("th", "made")]));
  $("list").replaceChildren(fitting.length
    ? el("div", el("table", [head, el("tbody", fitting.map(campaignLink))]), { class: "scroll" }) : el("p", "None.", { class: "quiet" }));
}

// --- one campaign -------------------------------------------------------------------------------

let drawn = ""; // the buttons are made anew only when they change, so that none goes away under a finger

let before = null; // the last look at this campaign that differs in time

function pace(info, progress) {
  const at = Date.parse(progress.at) / 1000;
  if (before === null || before.name !== info.name) before = { name: info.name, at, done: progress.done, pace: null };
  else if (at - before.at >= 1) before = { name: info.name, at, done: progress.done, pace: (progress.done - before.done) / (at - before.at) };
  return info.state === "running" ? before.pace : null;
}

function showCampaign(found) {
  const { info, progress, estimate, unsettled, orders, failure } = found;
  const perSecond = pace(info, progress);
  const part = OVER.includes(info.state) ? "after" : BEFORE.includes(info.state) ? "draft" : "running";
  mark(part);
  $("back").href = `#${part}`;
  $("c-name").textContent = info.name;
  $("c-state").textContent = info.state;
  $("c-state").dataset.is = info.state;
  $("c-reason").textContent = reason(info);
  $("c-failure").hidden = !failure;
  $("c-failure").textContent = failure || "";
  $("c-bar").replaceChildren(...STATES.filter((state) => progress.messages[state] && state !== "pending").map((state) => {
    const piece = el("span", null, { "data-is": state, title: words(state) });
    piece.style.width = `${(100 * progress.messages[state]) / progress.total}%`;
    return piece;
  }));
  $("c-bar").setAttribute("aria-label", `${number(progress.done)} of ${number(progress.total)} messages have an outcome`);
  facts($("c-counts"), [
    ["messages", number(progress.total)],
    ...STATES.map((state) => [words(state), number(progress.messages[state] || 0)]),
    ["a second", perSecond === null ? null : number(Math.max(0, Math.round(perSecond * 10) / 10))],
    ["spent", Number(progress.spent) ? `${roubles(progress.spent)}${info.budget ? ` of ${roubles(info.budget)}` : ""}` : null],
    ["bad rows", info.bad ? number(info.bad) : null], ["repeated, dropped", info.duplicates ? number(info.duplicates) : null],
  ]);
  const window_ = info.window ? JSON.parse(info.window) : null;
  facts($("c-settings"), [
    ["template", info.template, true], ["sender", info.sender || "the account's default"], ["kind", info.kind],
    ["window", window_ && `${window_.opens}–${window_.closes}, ${window_.days}, ${window_.column ? `column ${window_.column}` : window_.tz}`],
    ["budget", info.budget && roubles(info.budget)], ["messages a second", info.rate_limit],
    ["not before", info.starts_at && when(info.starts_at)], ["not after", info.expires_at && when(info.expires_at)],
    ["made by", `${info.created_by}, ${when(info.created_at)}`], ["started", info.started_at && when(info.started_at)], ["finished", info.finished_at && when(info.finished_at)],
  ]);
  facts($("c-estimate"), estimate === null ? [["estimate", "none yet"]] : [
    ["price", estimate.price_error ? `not known: ${estimate.price_error}` : roubles(estimate.price)], ["balance", roubles(estimate.balance)],
    ["SMS", number(estimate.parts)], ["reached lately", `${number(estimate.overlap)} within 14 days`], ["suppressed", number(estimate.suppressed)],
    ["fits its windows", estimate.fits === null ? "not known without a rate" : estimate.fits >= estimate.messages ? "all" : `${number(estimate.fits)}; the rest would expire`],
    ["ends", estimate.ends_at && when(estimate.ends_at)], ["estimated", when(estimate.at)],
    ["bad rows", estimate.bad_rows.map((row) => `line ${row.line}: ${row.why}`).join("\n"), true],
    ["Latin letters in Cyrillic words", estimate.mixed ? `${number(estimate.mixed)}: the gateway refuses them; lines ${estimate.mixed_lines.join(", ")}` : null, true],
  ]);
  rows($("c-log").tBodies[0], logRows(orders, true));
  $("c-after").hidden = BEFORE.includes(info.state);
  const state = [info.name, info.state, unsettled, progress.messages.unknown, estimate && estimate.overlap, me.role].join("|");
  if (state === drawn) return;
  drawn = state;
  $("c-actions").replaceChildren(...actions(info, estimate));
  $("c-report").href = `report?${query({ name: info.name, as: "html" })}`;
  $("c-csv").href = `report?${query({ name: info.name, as: "csv" })}`;
  showUnknown(info, unsettled, progress.messages.unknown);
}

function actions(info, estimate) {
  const { name, state } = info;
  const give = (path, said) => async (given) => { await order(`api/${path}`, { name, ...given }); return said; };
  const first = { name: "first", label: "Pause after so many messages; empty for all", inputmode: "numeric" };
  const all = [];
  if (may("operate") && ["draft", "estimated"].includes(state)) {
    all.push(button(estimate ? "Estimate again" : "Estimate", () => ask({
      title: `Estimate ${name}`, text: "The gateway is asked for prices; nothing is sent.",
      fields: info.rate_limit ? [] : [{ name: "rate", label: "Messages a second that you expect; empty if you do not know", inputmode: "decimal" }],
      does: "Estimate", action: give("estimate", "Estimated."),
    }), estimate ? "" : "main"));
  }
  const isOwn = me.second_person && info.created_by === me.name;
  hint(state === "estimated" && (!may("approve") || isOwn), isOwn ? "You made it: another person approves it." : "Somebody with the role approve approves it.");
  if (may("approve") && state === "estimated" && !isOwn) {
    const overlap = estimate && info.messages && estimate.overlap / info.messages > 0.05;
    all.push(button("Approve", () => ask({
      title: `Approve ${name}`,
      text: `${number(info.messages)} messages, ${roubles(estimate.price)}. Its rows, texts, sender, window, rate and budget are bound by this.`,
      fields: overlap ? [{ name: "overlap_ok", tick: true, label: `${number(estimate.overlap)} of these people were reached within the last 14 days; that is meant` }] : [],
      does: "Approve", action: give("approve", "Approved."),
    }), "main"));
  }
  if (may("operate") && state === "approved") {
    all.push(button("Start", () => ask({
      title: `Start ${name}`, text: "A small first wave shows what goes wrong before everybody gets it.", fields: [first], does: "Start", action: give("start", "Started."),
    }), "main"));
  }
  if (may("operate") && state === "running") {
    all.push(button("Pause", () => ask({ title: `Pause ${name}`, text: "Nothing more of it leaves; what is on the wire is recorded.", fields: [why()], does: "Pause", action: give("pause", "Paused.") }), "main"));
  }
  if (may("operate") && state === "paused") {
    all.push(button("Resume", () => ask({ title: `Resume ${name}`, fields: [first], does: "Resume", action: give("resume", "It runs again.") }), "main"));
  }
  if (may("operate") && !OVER.includes(state) && state !== "importing") {
    all.push(button("Test to my phone", () => ask({
      title: "Test to my phone", text: "One real row, to your number. It costs what a message costs.",
      fields: [{ name: "to", label: "Your phone", required: true, inputmode: "tel" }, { name: "line", label: "Line of the list; empty for any", inputmode: "numeric" }],
      does: "Send it", action: async (given) => `Sent: ${(await order("api/test", { name, ...given })).text}`,
    })));
  }
  if (may("operate") && !OVER.includes(state)) {
    all.push(button("Cancel for good", () => ask({
      title: `Cancel ${name}`, text: "It ends for good: what has not left never will. What has left cannot be called back.", fields: [why()], does: "Cancel for good", action: give("cancel", "Cancelled."),
    }), "bad"));
  }
  return all;
}

function hint(isShown, text) {
  $("c-hint").hidden = !isShown;
  $("c-hint").textContent = text;
}

async function showPreview() {
  const found = await look("api/preview", { name: shown.name });
  const lines = [...found.rows, ...(found.longest && !found.rows.some((row) => row.line === found.longest.line) ? [found.longest] : [])].sort((one, other) => one.line - other.line);
  const head = el("thead", el("tr", [el("th", "line", { class: "n" }), el("th", "to"), el("th", "SMS", { class: "n" }), el("th", "text")]));
  const body = el("tbody", lines.map((row) => el("tr", [el("td", row.line, { class: "n" }), el("td", row.to, { class: "one" }), el("td", row.parts, { class: "n" }), el("td", row.text, { class: "text" })])));
  const more = found.long_messages ? `${number(found.further_parts)} SMS beyond the first of ${number(found.long_messages)} messages${found.further_price ? `: ${roubles(found.further_price)}` : ""}.` : "Every message is one SMS.";
  const mixed = found.mixed.map((one) => `line ${one.line}: ${one.words.join(", ")}`).join("; ");
  $("c-rows").replaceChildren(
    el("div", el("table", [head, body]), { class: "scroll" }),
    el("p", more, { class: "quiet small" }),
    ...(mixed ? [el("p", `Latin letters in Cyrillic words, which the gateway refuses: ${mixed}`, { class: "notice" })] : []));
}

async function showUnknown(info, unsettled, unknown) {
  const { name, state } = info;
  const began = turn;
  const parts = [];
  if (unknown) {
    const found = await look("api/messages", { name, select: "unknown" });
    if (began !== turn) return;
    const head = el("thead", el("tr", [el("th", "line", { class: "n" }), el("th", "to"), el("th", "reason"), el("th", "since")]));
    const body = el("tbody", found.rows.map((row) => el("tr", [el("td", row.line, { class: "n" }), el("td", row.to, { class: "one" }), el("td", words(row.reason || "")), el("td", when(row.at), { class: "one" })])));
    const wait = unsettled ? "" : " Those whose last request may still arrive have to wait.";
    parts.push(el("p", `${number(unknown)} unknown, ${number(unsettled)} can be settled now.${wait}`), el("div", el("table", [head, body]), { class: "scroll tall" }));
    if (found.more) parts.push(el("p", "… and more: smspilot campaign messages.", { class: "quiet small" }));
  } else parts.push(el("p", "None."));
  $("c-unknown").replaceChildren(...parts);
  const orders = [];
  if (may("operate") && unsettled) orders.push(button("Settle unknown", () => settle(name)));
  if (may("operate") && ["running", "paused", "finished"].includes(state)) orders.push(button("Send some again", () => retry(name)));
  $("c-order").replaceChildren(...orders);
}

const expected = { name: "expect", label: "How many that is: write the number yourself", required: true, inputmode: "numeric" };

async function settle(name) {
  const { messages } = await look("api/count", { name, order: "settle", select: "unknown" });
  ask({
    title: "Settle unknown", text: `${number(messages)} messages. Nothing is sent by this; a proof of acceptance that comes later still wins.`,
    fields: [{ name: "as", label: "As what", choices: [["assume_sent", "taken for sent"], ["proven_duplicate", "accepted: its duplicate was refused"], ["not_sent", "not sent: may be sent again by an order"]] }, expected, why()],
    does: "Settle",
    action: async (given) => `${number((await order("api/settle", { name, select: "unknown", ...given })).messages)} messages settled.`,
  });
}

function retry(name) {
  ask({
    title: "Send some again", text: "Those that were refused, not sent or are unknown; never one that was accepted. First: how many would that be?",
    fields: [{ name: "select", label: "Which: refused, not_sent, expired, unknown, or a code such as 204", required: true }],
    does: "Count",
    action: async ({ select }) => {
      const { messages } = await look("api/count", { name, order: "retry", select });
      if (!messages) throw new Refused(0, "No message of this kind can be sent again.");
      setTimeout(() => orderRetry(name, select, messages));
      return `${number(messages)} messages would be sent again.`;
    },
  });
}

function orderRetry(name, select, messages) {
  const isUnknown = select.toLowerCase().split(",").some((word) => word.trim() === "unknown");
  ask({
    title: `Send ${number(messages)} again`, text: `${select}: exactly these, once.`,
    fields: [
      ...(isUnknown ? [{ name: "may_send_twice", tick: true, required: true, label: "They may have been sent: I know that some people may get theirs twice" }] : []),
      expected, why(),
    ],
    does: "Send again",
    action: async (given) => `${number((await order("api/retry", { name, select, ...given })).messages)} messages will be sent again.`,
  });
}

// --- parts ------------------------------------------------------------------------------------

function mark(part) {
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.part === part) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
}

const PARTS = {
  now: { template: "t-now", get: () => look("api/now"), show: showNow },
  draft: { template: "t-draft", open: openDraft, get: () => look("api/campaigns"), show: (found) => showList(found, BEFORE) },
  running: { template: "t-list", title: "Running", get: () => look("api/campaigns"), show: (found) => showList(found, ["running", "paused"]) },
  after: { template: "t-list", title: "After", get: () => look("api/campaigns"), show: (found) => showList(found, OVER) },
  campaign: {
    template: "t-campaign", get: () => look("api/campaign", { name: shown.name }), show: showCampaign,
    open: () => { drawn = ""; const again = () => showPreview().catch((error) => alarm(error.message)); $("c-preview").addEventListener("click", again); again(); },
  },
};

function open() {
  const [part, name] = location.hash.slice(1).split("/");
  shown = { part: PARTS[part] ? part : "now", name: name ? decodeURIComponent(name) : null };
  turn += 1;
  const { template, title, open: begin } = PARTS[shown.part];
  $("main").replaceChildren($(template).content.cloneNode(true));
  if (title) $("list-title").textContent = title;
  mark(shown.part);
  alarm("");
  if (begin) begin();
  refresh();
}

async function refresh() {
  clearTimeout(timer);
  const began = turn;
  try {
    const found = await PARTS[shown.part].get();
    if (began !== turn || !me) return;
    PARTS[shown.part].show(found);
    if ($("alarm").dataset.is === "lost") { alarm(""); $("alarm").dataset.is = ""; }
  } catch (error) {
    if (began !== turn) return;
    if (error.status === 401) { logIn(); return; }
    if (!(error instanceof Refused)) throw error;
    alarm(error.message);
    $("alarm").dataset.is = "lost";
  }
  timer = setTimeout(refresh, document.hidden ? 5 * EVERY : EVERY);
}

// --- who --------------------------------------------------------------------------------------

function logIn() {
  me = null;
  clearTimeout(timer);
  turn += 1;
  if ($("dialog").open) $("dialog").close();
  $("top").hidden = true;
  $("main").replaceChildren($("t-login").content.cloneNode(true));
  const form = $("login-form");
  form.elements.secret.focus();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await busy(event.submitter, async () => {
      await order("api/login", { secret: form.elements.secret.value });
      await begin();
    });
  });
}

async function begin() {
  try {
    me = await look("api/me");
  } catch (error) {
    alarm(error.message);
    timer = setTimeout(begin, EVERY);
    return;
  }
  if (!me.name) { logIn(); return; }
  $("top").hidden = false;
  $("mode").textContent = me.is_test ? "test" : "live";
  $("mode").dataset.is = me.is_test ? "test" : "live";
  $("banner").textContent = `account ${me.account} · ${me.endpoint}`;
  $("who").textContent = `${me.name}, ${me.role}`;
  $("logout").hidden = me.by_proxy;
  alarm("");
  open();
}

$("logout").addEventListener("click", async () => {
  try { await order("api/logout", {}); } catch (error) { alarm(error.message); return; }
  logIn();
});
$("d-no").addEventListener("click", () => $("dialog").close());
window.addEventListener("hashchange", () => { if (me) open(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden && me) refresh(); });
begin();
