"use strict";
// Whatever comes from a message is put in as text, never as HTML; the page's policy would stop it anyway.
const API = "/_emulator";
const ROW = 72;                 // pixels, as in the style
const KEPT = 10000;             // messages held here; older ones stay in the gateway's record
const SHOWN = 200;              // of what came in, and of what was refused: the newest
const PATIENCE = 25000;         // ms without a word after which the connection counts as dead; the heartbeat is 10 s
const RETRY = 700;              // ms

const STATES = {
  "-2": ["refused", "failed"], "-1": ["not delivered", "failed"], "0": ["accepted", "waiting"],
  "1": ["with operator", "waiting"], "2": ["delivered", "delivered"], "3": ["scheduled", "scheduled"],
};
const ERRORS = { 600: "expired", 601: "undeliverable", 602: "unreachable", 603: "rejected" };
const FILTERS = [
  ["all", "All"], ["waiting", "On the way"], ["delivered", "Delivered"], ["failed", "Not delivered"],
  ["scheduled", "Scheduled"], ["test", "Test"],
];
const COMMANDS = { "*": "any request", send: "send", cost: "cost", check: "check", balance: "balance", info: "info", inbound: "inbound" };
const FAULTS = {
  "accept-then-reset": "accepted, then reset", "accept-then-close": "accepted, then closed",
  "accept-then-half-answer": "accepted, half an answer", "accept-then-garbage": "accepted, garbage answered",
  "accept-then-html": "accepted, HTML answered", "accept-then-server-error": "accepted, 502 answered",
  "reset-before-read": "reset before it is read", "reset-after-read": "reset after it is read",
  "server-error": "503, nothing accepted", "busy": "error 110, nothing accepted",
  "busy-message": "error 110 for one message", "too-many-requests": "429, nothing accepted",
  "not-found": "404, nothing accepted", "slow": "accepted, answered late",
};

const $ = (id) => document.getElementById(id);
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}
const kindOf = (row) => row.test ? "test" : (STATES[row.status]?.[1] ?? "plain");
const stateOf = (status) => STATES[status]?.[0] ?? `status ${status}`;
const badge = (row) => el("span", { class: "state", "data-kind": kindOf(row) }, row.test ? "test" : stateOf(row.status));
const reason = (error) => error ? `${error} ${ERRORS[error] ?? ""}`.trim() : "";
const timeOf = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const momentOf = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const time = (iso, format) => el("time", { datetime: iso, title: iso, class: "digits" }, format.format(new Date(iso)));
const money = (digits) => digits.replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f").replace(/(\.\d*)\u202f/g, "$1") + "\u00a0₽";
const counted = (number) => number.toLocaleString("en-GB").replaceAll(",", "\u202f");

// --- what is known ------------------------------------------------------------------------------------------------

let rows = new Map();            // server_id to row
let order = [];                  // rows, oldest first
let shown = [];                  // those that pass search and filter, newest first
let state = null;
let clockAt = 0;
let filter = "all";
let wanted = "";
let selected = null;             // server_id
let detailVersion = 0;

function take(news) {
  if (news.starts_over) { rows = new Map(); order = []; state = null; }
  let unsorted = false;
  for (const row of news.messages) {
    row.haystack = `${row.to}\n${row.text}\n${row.sender}\n${row.server_id}`.toLowerCase();
    const known = rows.get(row.server_id);
    if (known) { Object.assign(known, row); continue; }
    unsorted ||= order.length > 0 && Number(order.at(-1).server_id) > Number(row.server_id);
    rows.set(row.server_id, row);
    order.push(row);
  }
  if (unsorted) order.sort((one, other) => Number(one.server_id) - Number(other.server_id));
  if (order.length > KEPT) for (const row of order.splice(0, order.length - KEPT)) rows.delete(row.server_id);
  if (selected && (news.starts_over || news.messages.some((row) => row.server_id === selected))) showDetail();
  if (news.starts_over || news.messages.some((row) => row.to === talkingTo)) showTalk();
  if (news.state) takeState(news.state);
  refresh();
}

function takeState(now) {
  const before = state;
  state = now;
  clockAt = performance.now();
  $("balance").replaceChildren(...now.balances.map((each) =>
    el("span", {}, now.balances.length > 1 ? el("span", { class: "quiet small" }, each.account + " ") : null, money(each.balance))));
  if (!selected && isEmpty(before) !== isEmpty(now)) showDetail();
  if (!before || before.inbound !== now.inbound || before.unread !== now.unread) showInbound();
  if (before?.refusals !== now.refusals) showRefused();
  if (before?.requests !== now.requests || now.requests === 0) showRequests();
  if (before?.inbound !== now.inbound) showTalk();
  if (JSON.stringify(before?.balances.map((each) => each.id)) !== JSON.stringify(now.balances.map((each) => each.id))) showBalanceForms();
  if (JSON.stringify(before?.faults) !== JSON.stringify(now.faults)) showFaults();
  tick();
}

const isEmpty = (data) => data && data.messages + data.test_messages === 0;

function tick() {
  if (!state) return;
  const now = new Date(new Date(state.now).getTime() + (performance.now() - clockAt) * (linked ? state.speed : 0));
  $("clock").textContent = timeOf.format(now);
  $("pace").textContent = state.speed === 0 ? "stands still" : state.speed === 1 ? "" : `× ${state.speed}`;
  $("clock").title = now.toISOString();
  $("clock-date").textContent = momentOf.format(now);
  $("clock-pace").textContent = $("pace").textContent;
}

// --- the list: only the rows in view are in the document --------------------------------------------------------------

const tallies = new Map();
for (const [name, label] of FILTERS) {
  const tally = el("span", { class: "digits" });
  const button = el("button", { type: "button", "data-filter": name, onclick: () => { filter = name; $("list").scrollTop = 0; refresh(); } }, label + " ", tally);
  tallies.set(name, { button, tally });
  $("filters").append(button);
}

function sift() {
  const digits = /^[\d\s()+-]+$/.test(wanted) ? wanted.replace(/\D/g, "") : "";
  const words = wanted.trim().toLowerCase();
  const tally = { all: 0 };
  const found = [];
  for (let at = order.length - 1; at >= 0; at--) {
    const row = order[at];
    if (words && !row.haystack.includes(words) && !(digits && row.haystack.includes(digits))) continue;
    const kind = kindOf(row);
    tally.all++;
    tally[kind] = (tally[kind] ?? 0) + 1;
    if (filter === "all" || filter === kind) found.push(row);
  }
  return [found, tally];
}

let due = false;
function refresh() {
  if (!due) { due = true; requestAnimationFrame(() => { due = false; showList(); }); }
}

function showList() {
  const list = $("list");
  const top = Math.floor(list.scrollTop / ROW);
  const anchor = list.scrollTop > 0 ? shown[top] : null;
  let tally;
  [shown, tally] = sift();
  for (const [name, { button, tally: node }] of tallies) {
    button.setAttribute("aria-pressed", String(name === filter));
    node.textContent = counted(tally[name] ?? 0);
    button.hidden = (name === "test" || name === "scheduled") && !tally[name] && name !== filter;
  }
  $("rows").style.height = `${shown.length * ROW}px`;
  if (anchor) {  // what is being read stays where it is while new messages come in above it
    const moved = shown.indexOf(anchor);
    if (moved >= 0 && moved !== top) list.scrollTop += (moved - top) * ROW;
  }
  showCounts();
  showWindow();
}

function showCounts() {
  const total = state ? state.messages + state.test_messages : rows.size;
  const older = total - rows.size;
  $("count-messages").textContent = counted(total);
  $("count-inbound").textContent = state?.unread ? `${counted(state.inbound)} · ${counted(state.unread)} new` : counted(state?.inbound ?? 0);
  $("count-requests").textContent = counted(state?.requests ?? 0);
  $("count-refused").textContent = counted(state?.refusals ?? 0);
  $("count-faults").textContent = counted(state?.pending_faults ?? 0);
  $("foot").textContent = older > 0
    ? `${counted(shown.length)} shown of the newest ${counted(rows.size)}; ${counted(older)} earlier ones are not here`
    : `${counted(shown.length)} of ${counted(rows.size)} messages`;
}

function showWindow() {
  const list = $("list");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 6);
  const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 6);
  const nodes = [];
  for (let at = first; at < last; at++) nodes.push(rowNode(shown[at], at));
  $("rows").replaceChildren(...nodes);
  const active = selected && $(`row-${selected}`);
  if (active) list.setAttribute("aria-activedescendant", active.id); else list.removeAttribute("aria-activedescendant");
}

function rowNode(row, at) {
  const node = el("div", {
    class: "row", role: "option", id: `row-${row.server_id}`, "aria-selected": String(row.server_id === selected),
    "aria-posinset": at + 1, "aria-setsize": shown.length, onclick: () => open(row.server_id),
  }, el("strong", { class: "digits" }, row.to), time(row.accepted_at, timeOf), el("span", { class: "text" }, row.text.replace(/\s+/g, " ")), badge(row));
  node.querySelector("time").classList.add("quiet", "small");
  node.style.top = `${at * ROW}px`;
  return node;
}

function step(by) {
  if (!shown.length) return;
  const at = shown.findIndex((row) => row.server_id === selected);
  const from = at < 0 && by < 0 ? shown.length : at;
  const next = Math.min(shown.length - 1, Math.max(0, from + by));
  const list = $("list");
  if (next * ROW < list.scrollTop) list.scrollTop = next * ROW;
  else if ((next + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (next + 1) * ROW - list.clientHeight;
  choose(shown[next].server_id);
}

// --- one message ------------------------------------------------------------------------------------------------------

function choose(serverId) {      // shows it, without leaving the list in a narrow window
  selected = serverId;
  history.replaceState(null, "", `#${serverId}`);
  showWindow();
  showDetail();
}

function open(serverId) {
  choose(serverId);
  $("messages").dataset.open = "yes";
  if (getComputedStyle($("column")).display === "none") $("detail").focus();
}

function close() {
  const was = selected;
  selected = null;
  $("messages").dataset.open = "no";
  history.replaceState(null, "", "#messages");
  showWindow();
  showDetail();
  if (was) $("list").focus();
}

async function showDetail() {
  const version = ++detailVersion;
  if (!selected) { $("detail").replaceChildren(welcome()); return; }
  let data;
  try {
    data = await ask(`messages/${encodeURIComponent(selected)}`);
  } catch (failure) {
    if (version === detailVersion && failure instanceof Refusal) $("detail").replaceChildren(el("div", { class: "empty" }, el("h2", {}, "This message is gone"), failure.message));
    return;                      // without a connection, what is shown stays
  }
  if (version !== detailVersion) return;
  const focused = document.activeElement?.dataset?.act;
  const error = $("why")?.value;
  $("detail").replaceChildren(...detail(data.message, data.callbacks));
  if (error) $("why").value = error;
  if (focused) ($("detail").querySelector(`[data-act="${focused}"]:enabled`) ?? $("detail")).focus();
}

function welcome() {
  if (state && !isEmpty(state))
    return el("div", { class: "empty" }, el("h2", {}, "Choose a message"), el("p", {}, el("kbd", {}, "/"), " searches, ", el("kbd", {}, "↑"), " ", el("kbd", {}, "↓"), " walk through the list, ", el("kbd", {}, "Esc"), " closes"));
  return el("div", { class: "empty" }, el("h2", {}, "Waiting for the first message"),
    el("p", {}, "Point your application at this gateway. Nothing leaves this machine."),
    el("code", {}, `export SMSPILOT_URL=${state?.url ?? location.origin + "/api2.php"}\nexport SMSPILOT_API_KEY=…   # printed where it was started\nsmspilot send 79087964781 "Ваш код 1234"`));
}

function detail(message, calls) {
  const done = message.test || [-2, -1, 2].includes(message.status);
  const act = async (status, error) => {
    if (await post("status", { server_id: message.server_id, status, error })) say(status === 2 ? "Delivered" : "Not delivered");
  };
  const why = el("select", { id: "why", "aria-label": "Reason of the failure", disabled: done }, ...Object.entries(ERRORS).map(([code, name]) => el("option", { value: code, selected: code === "601" }, `${code} ${name}`)));
  const actions = el("div", { class: "actions" },
    el("button", { class: "button main", type: "button", "data-act": "deliver", disabled: done, onclick: () => act(2, 0) }, "Deliver"),
    el("div", { class: "joined" }, el("button", { class: "button bad", type: "button", "data-act": "fail", disabled: done, onclick: () => act(-1, Number(why.value)) }, "Fail"), why),
    message.test ? null : el("a", { class: "button", href: `#conversation/${message.to}` }, "Conversation"));
  const facts = [
    ["Sender", message.sender || "–"], ["Parts", message.parts], ["Cost", money(message.price)],
    ["Server id", message.server_id], ["Packet", message.server_packet_id], ["Your id", message.id ?? "–"],
    ["Operator", [message.operator, message.country].filter(Boolean).join(", ") || "–"],
    ["Accepted", momentOf.format(new Date(message.accepted_at))],
    message.send_at && ["Scheduled for", momentOf.format(new Date(message.send_at))],
    message.ttl && ["Valid for", `${message.ttl} min`],
  ].filter(Boolean);
  return [
    el("p", { id: "back" }, el("button", { class: "button", type: "button", onclick: close }, "← All messages")),
    el("div", { class: "head" }, el("h2", { class: "digits" }, message.to), badge(message), actions),
    el("div", { class: "inset" }, el("p", { class: "bubble" }, message.text)),
    el("dl", { class: "card grid digits" }, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value))))),
    el("div", { class: "card" }, el("h3", {}, "Status history"), el("ol", { class: "steps", "aria-label": "Status history" }, ...message.history.map((change) =>
      el("li", {}, el("strong", {}, stateOf(change.status)), el("span", { class: "quiet" }, reason(change.error)), time(change.at, momentOf))))),
    el("div", { class: "card" }, el("h3", {}, "Callbacks"), callbacks(message, calls)),
  ];
}

function callbacks(message, calls) {
  if (!message.callback) return el("p", { class: "quiet" }, "This message has no callback URL.");
  const made = calls.map((call) => el("li", {},
    el("div", { class: "line" }, el("strong", {}, stateOf(call.status)), el("span", { class: "state", "data-kind": call.acknowledged ? "delivered" : "failed" }, answerOf(call)), time(call.at, timeOf)),
    el("code", {}, `${call.method.toUpperCase()} ${call.url}`),
    call.called ? el("code", { class: "quiet" }, `called at ${call.called}`) : null,
    call.answer && !call.acknowledged ? el("code", { class: "quiet" }, call.answer) : null));
  if (!made.length) made.push(el("li", { class: "quiet" }, "None was answered yet: ", el("code", {}, `${message.callback_method.toUpperCase()} ${message.callback}`)));
  return el("ul", { class: "calls", "aria-label": "Callbacks" }, ...made);
}

function answerOf(call) {
  if (call.failure === "not loopback") return "not called: beyond this machine";
  if (call.failure) return `no answer (${call.failure})`;
  return call.acknowledged ? `${call.answer_status} OK` : `${call.answer_status}, not OK`;
}

