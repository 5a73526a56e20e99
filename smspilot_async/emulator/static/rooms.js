// --- inbound, refused and faults --------------------------------------------------------------------------------------

async function showInbound() {
  let data;
  try { data = (await ask(`inbound?after=${Math.max(0, state.inbound - SHOWN)}`)).inbound; } catch { return; }
  const items = data.reverse().map((sms) => el("li", {},
    el("div", { class: "line digits" }, el("strong", {}, sms.phone), el("span", { class: "quiet small" }, `to ${sms.num}`), el("span", { class: "state", "data-kind": sms.seen ? "plain" : "waiting" }, sms.seen ? "read" : "not read yet"),
      el("a", { class: "small", href: `#conversation/${sms.phone}`, "aria-label": `Conversation with ${sms.phone}` }, "conversation"), time(sms.created, timeOf)),
    el("p", {}, sms.text)));
  $("inbound-list").replaceChildren(...(items.length ? items : [el("li", { class: "quiet" }, "Nothing yet.")]));
}

let refusedVersion = 0;
async function showRefused() {
  const version = ++refusedVersion;
  let data;
  try { data = (await ask(`refusals?after=${Math.max(0, state.refusals - SHOWN)}`)).refusals; } catch { return; }
  if (version !== refusedVersion) return;
  const items = data.reverse().map((refusal) => el("li", {},
    el("div", { class: "line digits" }, el("span", { class: "state", "data-kind": "failed" }, refusal.code), el("strong", {}, refusal.reason), el("span", { class: "quiet small" }, refusal.command || "not understood"),
      el("a", { class: "small", href: `#request/${refusal.request}` }, `request ${refusal.request}`), time(refusal.at, timeOf)),
    refusal.to === null ? null : el("div", { class: "digits" }, refusal.to || el("span", { class: "quiet" }, "no phone")),
    refusal.text ? el("p", { class: "quiet" }, refusal.text) : null));
  $("refused-head").textContent = state.refusals > SHOWN ? `The newest ${SHOWN} of ${counted(state.refusals)}` : "Newest first";
  $("refused-list").replaceChildren(...(items.length ? items : [el("li", { class: "quiet" }, "Nothing yet.")]));
}

function showFaults() {
  const items = state.faults.map((fault) => el("li", {}, el("div", { class: "line" },
    el("strong", {}, FAULTS[fault.fault] ?? fault.fault), el("span", { class: "quiet" }, COMMANDS[fault.command] ?? fault.command),
    el("span", { class: "digits" }, fault.times ? `× ${counted(fault.times)}` : `${+(fault.share * 100).toFixed(2)} % at random`))));
  $("fault-list").replaceChildren(...(items.length ? items : [el("li", { class: "quiet" }, "None: every request succeeds.")]));
  $("fault-clear").hidden = !items.length;
}

// --- requests ---------------------------------------------------------------------------------------------------------

let requestNodes = new Map();    // number to { stamp, node }; what is open stays open
let requestsDue = null, requestsVersion = 0, wantedRequest = null;

function showRequests() {        // a busy gateway changes it a hundred times a second
  if (requestsDue === null && !$("requests").hidden) requestsDue = setTimeout(async () => { requestsDue = null; await loadRequests(); }, 150);
}

async function loadRequests() {
  const version = ++requestsVersion;
  const isPart = $("only-refused").checked;
  const query = isPart ? "refused=true&limit=1000" : `after=${Math.max(0, (state?.requests ?? 0) - SHOWN)}`;
  let data;
  try { data = (await ask(`requests?${query}`)).requests.slice(-SHOWN); } catch { return; }
  if (version !== requestsVersion) return;
  const list = $("request-list");
  const before = requestNodes;
  requestNodes = new Map();
  for (const request of data) {
    const stamp = JSON.stringify(request);
    const known = before.get(request.number);
    requestNodes.set(request.number, known?.stamp === stamp ? known : { stamp, node: requestNode(request) });
  }
  for (const [number, { node }] of before) if (requestNodes.get(number)?.node !== node) node.remove();
  let next = null;               // from the oldest up, so that what is there is not moved
  for (const { node } of requestNodes.values()) {
    if (node.nextSibling !== next || node.parentNode !== list) list.insertBefore(node, next);
    next = node;
  }
  if (!data.length) list.replaceChildren(el("li", { class: "quiet" }, "Nothing yet."));
  else for (const empty of list.querySelectorAll(":scope > .quiet")) empty.remove();
  const total = state?.requests ?? 0;
  $("requests-head").textContent = !isPart && total > SHOWN ? `The newest ${SHOWN} of ${counted(total)}` : "Newest first";
  if (wantedRequest !== null) openRequest();
}

function requestNode(request) {
  const isBad = request.refused > 0 || request.fault !== null || request.status !== 200 || request.ending !== "answer";
  const texts = el("div", { class: "raw" });
  const fold = el("details", { id: `request-${request.number}` },
    el("summary", {}, el("span", { class: "line digits" },
      el("span", { class: "quiet small" }, `${request.number}`),
      el("strong", {}, request.command || (request.method ? "not understood" : "not read")),
      request.count > 1 ? el("span", {}, `× ${counted(request.count)}`) : null,
      request.to ? el("span", {}, request.to) : null,
      el("span", { class: "state", "data-kind": isBad ? "failed" : "delivered" }, outcomeOf(request)),
      el("span", { class: "quiet small" }, request.seconds === null ? "held back" : lengthOf(request.seconds)),
      time(request.at, timeOf))), texts);
  fold.addEventListener("toggle", () => { if (fold.open) showRaw(request.number, texts); });
  return el("li", {}, fold);
}

function outcomeOf(request) {
  const parts = [];
  if (request.accepted) parts.push(`${counted(request.accepted)} accepted`);
  if (request.refused) parts.push(request.accepted || request.refused > 1 ? `${counted(request.refused)} refused (${request.code})` : `refused (${request.code})`);
  else if (request.status !== 200 && request.status !== null && !request.fault) parts.push(`HTTP ${request.status}`);
  if (!request.fault) return parts.join(", ") || "OK";
  const fault = FAULTS[request.fault] ?? request.fault;
  return request.accepted ? [...parts, fault.replace(/^accepted, /, "")].join(", ") : fault;
}

const lengthOf = (seconds) => seconds < 1 ? `${(seconds * 1000).toFixed(1)} ms` : `${seconds.toFixed(1)} s`;

async function showRaw(number, texts) {
  let request;
  try { request = (await ask(`requests/${number}`)).request; } catch (failure) {
    texts.replaceChildren(el("p", { class: "quiet" }, failure instanceof Refusal ? failure.message : "The emulator does not answer"));
    return;
  }
  const endings = { "half-answer": ", of which half went out", close: "the connection was closed instead", reset: "the connection was reset instead" };
  const status = request.status === null ? endings[request.ending] : `HTTP ${request.status}${endings[request.ending] ?? ""}`;
  texts.replaceChildren(
    el("h4", {}, `Request, ${counted(request.request_bytes)} bytes`), el("pre", { tabindex: 0, "aria-label": "Request" }, request.request || "It was not read."),
    el("h4", {}, `Answer, ${status}`), el("pre", { tabindex: 0, "aria-label": "Answer" }, request.answer || "Nothing."));
}

function openRequest() {
  const fold = $(`request-${wantedRequest}`);
  if (!fold) { if (requestNodes.size) say(`Request ${wantedRequest} is not here any more`); wantedRequest = null; return; }
  wantedRequest = null;
  fold.open = true;
  fold.scrollIntoView({ block: "start" });
  fold.querySelector("summary").focus();
}

$("only-refused").addEventListener("change", loadRequests);

// --- a conversation ---------------------------------------------------------------------------------------------------

let talkingTo = null, talkVersion = 0;

function talkTo(phone) {
  talkingTo = phone;
  const form = $("phone-form");
  form.phone.value = phone ?? "";
  $("talk").hidden = !phone;
  const phones = new Set();
  for (let at = order.length - 1; at >= 0 && phones.size < 50; at--) phones.add(order[at].to);
  $("phones").replaceChildren(...[...phones].map((each) => el("option", { value: each })));
  showTalk();
}

async function showTalk() {
  const version = ++talkVersion;
  const phone = talkingTo;
  if (!phone || $("conversation").hidden) return;
  let said = [], after = 0;
  try {
    while (after !== null) {
      const page = await ask(`conversations/${encodeURIComponent(phone)}?after=${after}`);
      said = said.concat(page.conversation).slice(-SHOWN);
      after = page.next;
      if (version !== talkVersion) return;
    }
  } catch { return; }
  if (version !== talkVersion) return;
  $("talk-head").textContent = `${phone}, oldest first`;
  const list = $("talk-list");
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.replaceChildren(...(said.length ? said.map(saidNode) : [el("li", { class: "quiet" }, "Nothing was said yet.")]));
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

function saidNode({ direction, message, inbound }) {
  const isOut = direction === "out";
  const facts = isOut
    ? [el("a", { href: `#${message.server_id}` }, message.sender), badge(message), time(message.accepted_at, timeOf)]
    : [el("span", {}, `to ${inbound.num}`), el("span", {}, inbound.seen ? "read" : "not read yet"), time(inbound.created, timeOf)];
  return el("li", { class: direction }, el("span", { class: "aside" }, isOut ? "To the phone:" : "From the phone:"),
    el("p", {}, (message ?? inbound).text), el("div", { class: "line small quiet digits" }, ...facts));
}

$("phone-form").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = `#conversation/${event.target.phone.value.replace(/[\s()+-]/g, "")}`;
});
$("reply-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = event.target.text;
  if (await post("inbound", { phone: talkingTo, text: text.value })) { text.value = ""; text.focus(); }
});

// --- control ----------------------------------------------------------------------------------------------------------

for (const [label, seconds] of [["+ 10 s", 10], ["+ 1 min", 60], ["+ 5 min", 300], ["+ 1 h", 3600], ["+ 1 day", 86400]])
  $("advance").append(el("button", { type: "button", class: "button", onclick: () => post("clock", { advance: seconds }) }, label));

$("clock-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { set, speed } = Object.fromEntries(new FormData(event.target));
  const body = {};
  if (set) body.set = new Date(set).toISOString();
  if (speed !== "") body.speed = Number(speed);
  if (await post("clock", body)) { event.target.reset(); say("The clock is set"); }
});

function showBalanceForms() {
  $("balance-forms").replaceChildren(...state.balances.map((each) => {
    const amount = el("input", { name: "amount", required: true, inputmode: "decimal", autocomplete: "off", placeholder: each.balance });
    const form = el("form", {}, el("div", { class: "fit" }, el("label", {}, `Account ${each.id} ${each.account}, roubles `, amount), el("button", { class: "button" }, "Set the balance")));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (await post(`accounts/${each.id}`, { balance: amount.value.replace(",", ".").replace(/\s/g, "") })) { form.reset(); say("The balance is set"); }
    });
    return form;
  }));
}

async function showDestination() {
  const form = $("callbacks-form");
  try {
    const { url, in_process: isHere } = await ask("callbacks-to");
    if (!form.contains(document.activeElement)) form.url.value = url ?? "";   // else someone is typing
    form.url.placeholder = isHere ? "an application in the test's process" : "http://127.0.0.1:8000";
  } catch { return; }
}

$("callbacks-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const url = event.target.url.value.trim();
  if (await post("callbacks-to", { url: url || null })) say(url ? `Callbacks go to ${url}` : "Callbacks go to their own URLs");
});

for (const name of ["messages.csv", "messages.json", "requests.csv", "requests.json"])
  $("files").append(el("a", { class: "button", href: `${API}/${name}`, download: name }, name));

let sure = null;                 // what is cleared is gone: it takes two presses
$("clear").addEventListener("click", async () => {
  if (sure === null) {
    $("clear").textContent = "Press again to clear everything";
    sure = setTimeout(unsure, 4000);
  } else {
    unsure();
    if (await post("reset", {})) say("Everything is cleared");
  }
});
function unsure() {
  clearTimeout(sure);
  sure = null;
  $("clear").textContent = "Clear everything";
}

// --- forms ------------------------------------------------------------------------------------------------------------

for (const [value, label] of Object.entries(COMMANDS)) $("command").append(el("option", { value, selected: value === "send" }, label));
for (const [value, label] of Object.entries(FAULTS)) $("fault").append(el("option", { value }, label));

$("inbound-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { phone, text, num } = Object.fromEntries(new FormData(event.target));
  const body = { phone: phone.replace(/[\s()+-]/g, ""), text };
  if (num) body.num = num;
  if (await post("inbound", body)) { event.target.text.value = ""; say("The message is in the inbox"); }
});
$("fault-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { command, fault, times } = Object.fromEntries(new FormData(event.target));
  const body = { command, fault, times: Number(times) };
  if (fault === "slow") body.delay = 5;
  if (await post("fail-next", body)) say("The fault is planned");
});
$("forget-faults").addEventListener("click", () => post("no-more-faults", {}));

