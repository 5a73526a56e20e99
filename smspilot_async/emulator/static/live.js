// --- talking to the emulator ------------------------------------------------------------------------------------------

class Refusal extends Error {}

async function ask(path, options) {
  const answer = await fetch(`${API}/${path}`, options);
  const data = await answer.json();
  if (!answer.ok) throw new Refusal(data.error);
  return data;
}

async function post(path, body) {
  try {
    await ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    return true;
  } catch (failure) {
    say(failure instanceof Refusal ? failure.message : "The emulator does not answer");
    return false;
  }
}

let hush;
function say(text) {
  clearTimeout(hush);
  $("said").textContent = text;
  hush = setTimeout(() => { $("said").textContent = ""; }, 3000);
}

let source, cursor = "", linked = false, watchdog;
function connect() {
  source = new EventSource(`${API}/events?after=${encodeURIComponent(cursor)}`);
  source.onmessage = (event) => {
    cursor = event.lastEventId;
    clearTimeout(watchdog);
    watchdog = setTimeout(lose, PATIENCE);
    link(true);
    take(JSON.parse(event.data));
  };
  source.onerror = lose;
}
function lose() {                // the browser's own retry gives up when it is answered by anything but a stream
  source.close();
  clearTimeout(watchdog);
  link(false);
  setTimeout(connect, RETRY);
}
function link(isLive) {
  linked = isLive;
  $("link").dataset.is = isLive ? "live" : "lost";
  const text = isLive ? "live" : "disconnected";
  if ($("link").textContent !== text) $("link").textContent = text;
  $("lost").hidden = isLive;
}

// --- rooms and keys ---------------------------------------------------------------------------------------------------

const ROOMS = ["inbound", "conversation", "requests", "refused", "faults", "control"];

function enter() {
  const [name, detail] = location.hash.slice(1).split("/");
  const room = name === "request" ? "requests" : ROOMS.includes(name) ? name : "messages";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.room === room) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    $(link.dataset.room).hidden = link.dataset.room !== room;
  }
  if (/^\d+$/.test(name)) { selected = name; $("messages").dataset.open = "yes"; }
  else if (name === "messages") { selected = null; $("messages").dataset.open = "no"; }
  if (room === "messages") { showDetail(); refresh(); }
  else if (room === "requests") { wantedRequest = name === "request" ? detail : null; loadRequests(); }
  else if (room === "conversation") talkTo(detail ? decodeURIComponent(detail) : talkingTo);
  else if (room === "control") showDestination();
}

$("search").addEventListener("input", (event) => { wanted = event.target.value; $("list").scrollTop = 0; refresh(); });
$("search").addEventListener("keydown", (event) => { if (event.key === "ArrowDown") { event.preventDefault(); $("list").focus(); step(1); } });
$("list").addEventListener("scroll", showWindow, { passive: true });
$("list").addEventListener("keydown", (event) => {
  const page = Math.max(1, Math.floor($("list").clientHeight / ROW) - 1);
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
  if (event.key in moves) { event.preventDefault(); step(moves[event.key]); }
  else if (event.key === "Enter" && selected) open(selected);
});
addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select");
  if (event.key === "/" && !typing && !$("messages").hidden) { event.preventDefault(); $("search").focus(); }
  else if (event.key === "Escape" && !typing && selected) close();
});
addEventListener("resize", refresh);
addEventListener("hashchange", enter);
setInterval(tick, 1000);
enter();
connect();
