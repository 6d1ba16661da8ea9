// @ts-check
/**
 * The chat page: draws a room, keeps what is typed, and keeps the connection.
 *
 * It speaks the messages of PROTOCOL.md. It does not know what stands between it and the server,
 * and it never turns text into markup: every node is made by the DOM.
 */

/** @typedef {{id: string, name: string, color: string}} Person */
/** @typedef {{name: string, message?: string, color: string, from?: string, time?: number, id?: string, offset?: number}} Line */
/** @typedef {Line & {mime?: string, data?: string, width?: number, height?: number, alt?: string}} Shown a line that may be a picture */
/** @typedef {{id: string, text: string, item: HTMLElement, state: "waiting"|"sending"|"failed", kept?: boolean, file?: Blob|null, lost?: number}} Outgoing lost: how many connections */
/** @typedef {{epoch: string, offset: number}} Position */
/** @typedef {{came: string[], went: string[], more: number}} Digest */

const SECOND = 1000;
const BACKOFF = { base: 1, cap: 30, stable: 10 }; // seconds
const PING_EVERY = 25 * SECOND; // load balancers cut a silent connection after 60 s, some after 30
const PATIENCE = 10 * SECOND; // without an answer to a ping the connection is dead, whatever the browser believes
const UPLOAD = 75 * SECOND; // a picture may take as long to go out, and what comes behind it has to wait
const HANDSHAKE = 20 * SECOND; // a full proxy lets a handshake hang instead of refusing it
const SHOWN = 500; // messages in the document
const QUEUED = 100; // messages that may wait
const LISTED = 200; // people in the list; the count is exact anyway
const GROUP = 300 * SECOND; // one sender's lines within this time stand together
const TOO_SLOW = "the picture took too long"; // a close's reason: sent again, it would take as long
const LOST = 3; // connections that a picture may cost: what stands between may let none of its size through
const PICTURES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const SIDE = 2048; // pixels of a picture that is too large to be sent as it is
const DIGEST = 1.5 * SECOND; // comings and goings within this time become one note

// ---------------------------------------------------------------- pure functions

/** Leave out what the server takes in no name: control characters, and marks that turn the direction of text. @param {string} text */
const plain = (text) => text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, "").trim();

/** Read the room from an address's query. @param {string} query */
function roomFrom(query) {
  const name = new URLSearchParams(query).get("room") ?? "";
  return [...plain(name)].slice(0, 64).join("") || "lobby";
}

/** Make a person's name of a text; none where nobody would see it. @param {string} text */
const nameFrom = (text) => (/[^\p{C}\p{Z}]/u.test(text) ? [...plain(text)].slice(0, 40).join("") : "");

/** Make the socket's address; a page over TLS may only use wss. @param {string} declared @param {string} page @param {string} room */
function socketAddress(declared, page, room) {
  const url = new URL(!declared || declared.includes("{{") ? "ws/chat" : declared, page);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.searchParams.set("room", room);
  return url;
}

/** Choose the seconds until the next attempt: full jitter, lest all pages return at once. @param {number} code @param {number} attempt */
function delayFor(code, attempt) {
  if (code === 1008) return Infinity; // refused for cause: a person decides when to try again
  if (attempt === 0 && (code === 1012 || code === 1001)) return 0.3 + Math.random() * 1.2;
  const jitter = Math.random() * Math.min(BACKOFF.cap, BACKOFF.base * 2 ** attempt);
  return code === 1013 ? 5 + jitter : jitter;
}

/** Say why the connection ended. @param {number} code */
function wordsFor(code) {
  if (code === 1008) return "Closed by the server";
  if (code === 1012 || code === 1001) return "The server is restarting";
  return code === 1013 ? "The server is busy" : "Connection lost";
}

/** Cut a text into strings and links: http(s) only, without the punctuation behind. @param {string} text @returns {(string|{href: string})[]} */
function pieces(text) {
  const found = [];
  let end = 0;
  for (const { 0: match, index } of text.matchAll(/\bhttps?:\/\/[^\s<>"]+/gi)) {
    let href = match;
    const odd = () => href.endsWith(")") && href.split(")").length > href.split("(").length;
    while (/[.,;:!?'*]$/.test(href) || odd()) href = href.slice(0, -1);
    if (!URL.canParse(href)) continue;
    found.push(text.slice(end, index), { href });
    end = index + href.length;
  }
  return [...found, text.slice(end)];
}

/** Take the first letters of a name's first two words; a letter may be several code points. @param {string} name */
function initials(name) {
  const words = name.trim().split(/\s+/).slice(0, 2);
  return words.map((word) => [...new Intl.Segmenter().segment(word)][0]?.segment).join("").toUpperCase();
}

/** Choose black or white, whichever reads better on a colour (relative luminance of WCAG 2). @param {string} color */
function inkOn(color) {
  const [r, g, b] = [1, 3, 5]
    .map((at) => parseInt(color.slice(at, at + 2), 16) / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

/** Accept a colour only in the form that the protocol allows. @param {unknown} color */
const safeColor = (color) => (typeof color === "string" && /^#[0-9a-f]{6}$/i.test(color) ? color : "#64748b");

/** Join names into words, at most three. @param {string[]} names */
const several = (names) =>
  new Intl.ListFormat("en-GB").format(names.length > 3 ? [...names.slice(0, 2), `${names.length - 2} others`] : names);

/** Put comings and goings into one sentence. @param {Digest} digest */
function sentence({ came, went, more }) {
  if (more) return `${came.length + went.length + more} people came or went`;
  return [came.length && `${several(came)} joined`, went.length && `${several(went)} left`].filter(Boolean).join(", ");
}

/** Add two digests; who came and went, or went and came back, is no news. @param {Digest} one @param {Digest} two @returns {Digest} */
function sum(one, two) {
  const came = [...one.came, ...two.came];
  const went = [...one.went, ...two.went].filter((name) => !came.includes(name) || !came.splice(came.indexOf(name), 1));
  return { came, went, more: one.more + two.more };
}

/** Make up somebody to be. @returns {{name: string, color: string}} */
function someone() {
  const pick = (/** @type {string} */ list) => list.split(" ")[Math.floor(Math.random() * list.split(" ").length)];
  const manner = pick("Amber Brave Bright Calm Clever Cosy Curious Gentle Golden Kind Lucky Merry Misty Nimble Quick Quiet Silver Sunny Swift Witty");
  const animal = pick("Badger Beaver Crane Falcon Finch Fox Hare Heron Ibis Kestrel Lynx Magpie Marten Otter Owl Puffin Raven Robin Seal Swallow");
  return { name: `${manner} ${animal}`, color: pick("#0f766e #1d4ed8 #6d28d9 #a21caf #be123c #b45309 #4d7c0f #0369a1 #7c2d12 #047857") };
}

// ---------------------------------------------------------------- the page's parts and what the browser keeps

/** Find an element that the page is known to have. @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);
const [input, log, messages] = /** @type {[HTMLTextAreaElement, HTMLElement, HTMLElement]} */ (["input", "log", "messages"].map($));
const room = roomFrom(location.search);

/** Try what a browser may forbid (storage): the page works without, only a reload forgets. @template T @param {() => T} action */
function attemptTo(action) {
  try {
    return action();
  } catch {
    return null;
  }
}

/** Read what was kept. @param {"localStorage"|"sessionStorage"} area @param {string} key */
const recall = (area, key) => attemptTo(() => JSON.parse(window[area].getItem(`wsfront.${key}`) ?? "null"));

/** Keep a value. @param {"localStorage"|"sessionStorage"} area @param {string} key @param {unknown} value */
const keep = (area, key, value) => attemptTo(() => window[area].setItem(`wsfront.${key}`, JSON.stringify(value)));

/** Make an element. @template {keyof HTMLElementTagNameMap} K @param {K} tag @param {Partial<HTMLElementTagNameMap[K]>} properties */
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

/** Copy a template's one element for a person. @param {string} template @param {string} name @param {string} color @returns {HTMLElement} */
function copyFor(template, name, color) {
  const item = $(template).content.firstElementChild.cloneNode(true);
  item.querySelector(".name").textContent = name;
  item.querySelector(".avatar").textContent = initials(name);
  item.style.setProperty("--person", safeColor(color)); // by the object model: the CSP forbids style attributes
  item.style.setProperty("--ink", inkOn(safeColor(color)));
  return item;
}

let noticeTimer = 0;
/** Tell the person something in passing; the same twice is said once. @param {string} text */
function notice(text) {
  if ($("notice").textContent !== text) $("notice").textContent = text;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => ($("notice").textContent = ""), 6 * SECOND);
}

// ---------------------------------------------------------------- the log

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });
let atEnd = true;
let unseen = 0;
let scrolling = 0;

const toEnd = () => (log.scrollTop = log.scrollHeight);

/** Show how many messages have not been seen; none, if the end is in view. */
function showUnseen() {
  if (atEnd && !document.hidden) unseen = 0;
  $("newer").hidden = atEnd || !unseen;
  $("newer").textContent = unseen === 1 ? "1 new message" : `${unseen} new messages`;
  document.title = `${unseen && document.hidden ? `(${unseen}) ` : ""}${room} · wsfront`;
}

/** Find the first message on its way: others will see it after all that arrives before it is confirmed. */
const pending = () => outbox.find(({ state }) => state !== "failed")?.item ?? null;

/** Put an item into the log. @param {HTMLElement} item @param {HTMLElement|null} before */
function place(item, before = pending()) {
  messages.insertBefore(item, before);
  if (messages.childElementCount > SHOWN) messages.querySelector("li:not([data-state])")?.remove();
  $("empty").hidden = true;
  group(messages.firstElementChild);
  group(item);
  group(item.nextElementSibling);
  cancelAnimationFrame(scrolling);
  scrolling = requestAnimationFrame(() => atEnd && toEnd());
}

/** Hide the sender's name where the line before has it already. @param {any} item */
function group(item) {
  const before = item?.previousElementSibling?.dataset;
  const continues = before?.sender && before.sender === item.dataset.sender && item.dataset.time - before.time < GROUP;
  item?.classList.toggle("continues", Boolean(continues));
}

/** Make a message's item. @param {Shown} line @param {boolean} own @param {Blob|null} [file] a picture that is not sent yet */
function messageItem(line, own, file) {
  const item = copyFor("message-template", own ? "You" : line.name, line.color);
  item.classList.toggle("own", own);
  item.dataset.sender = own ? "you" : `${line.from ?? ""} ${line.name}`;
  const link = { target: "_blank", rel: "noopener noreferrer nofollow" };
  if (file || line.data) {
    frame(item, line, file);
    stamp(item, line.time);
    return item;
  }
  const parts = pieces(line.message ?? "").map((piece) => (typeof piece === "string" ? piece : make("a", { ...link, href: piece.href, textContent: piece.href })));
  item.querySelector(".text")?.append(...parts);
  stamp(item, line.time);
  return item;
}

/** Make a picture's address: no other kind of content than a picture, whatever the line says. @param {Shown} line */
const source = ({ mime, data }) => (PICTURES.includes(mime ?? "") && /^[\w+/]+=*$/.test(data ?? "") ? `data:${mime};base64,${data}` : "");

/** Put a picture into an item, and what is said of it below. @param {HTMLElement} item @param {Shown} line @param {Blob|null} [file] */
function frame(item, line, file) {
  const { name, alt, width, height } = line;
  const image = make("img", { alt: alt || `Picture from ${name}`, decoding: "async", onload: () => void (atEnd && toEnd()) });
  if (width && height) Object.assign(image, { width, height }); // its place is kept until it is there
  if (file) {
    const reader = new FileReader();
    reader.onload = () => image.src || (image.src = String(reader.result));
    reader.readAsDataURL(file);
  } else image.src = source(line);
  const text = /** @type {Element} */ (item.querySelector(".text"));
  text.classList.add("picture");
  text.replaceChildren(image);
  if (alt) text.append(make("span", { textContent: alt, ariaHidden: "true" })); // it is the image's text already
}

/** Set an item's time. @param {HTMLElement} item @param {number} [time] */
function stamp(item, time = Date.now()) {
  item.dataset.time = String(time);
  const shown = { dateTime: new Date(time).toISOString(), textContent: clock.format(time), title: calendar.format(time) };
  Object.assign(/** @type {Element} */ (item.querySelector("time")), shown);
}

/** Write a remark of the room's own between the messages. @param {string} text */
function remark(text) {
  const item = make("li", { className: "remark", textContent: text });
  place(item);
  return item;
}

/** Show a line from the room, or settle our own with it; each once. @param {Shown} line */
function receive(line) {
  if (line.offset !== undefined && !follows(line.offset)) return;
  const entry = line.id && outbox.find(({ id }) => id === line.id);
  if (entry) settle(entry, line);
  else if (!line.id || !settled.delete(line.id)) {
    const own = line.from !== undefined && mine.has(line.from);
    if (!own) unseen += 1;
    place(messageItem(line, own));
    showUnseen();
    restoring.shown += 1;
  }
  if (restoring.left) restored(restoring.left - 1);
}

// ---------------------------------------------------------------- where in the room we are

let position = /** @type {Position|null} */ (null); // of the last line that was shown
let resuming = true; // asked where we are, and not answered
let restoring = { left: 0, shown: 0, words: "" };

/** Take a step; a line that comes before the answer to a resume comes again behind it. @param {number} offset */
function follows(offset) {
  if (!position) return true;
  if (resuming || offset <= position.offset) return false;
  position.offset = offset;
  return true;
}

/** Say where we were: what came since is sent again. */
function resume() {
  resuming = true;
  if (socket?.readyState === WebSocket.OPEN) transmit({ type: "resume", ref: "here", client, ...position }, "resume");
}

/** Go on from a position: lines that were missed follow, and some may be missing. @param {Position & {type: string, count: number, lost?: number}} answer */
function resumed({ type, epoch, offset, count, lost }) {
  position = { epoch, offset };
  resuming = held = false;
  const missing = lost === 1 ? "1 message is missing" : lost ? `${lost} messages are missing` : "some messages may be missing";
  restoring = { left: 0, shown: 0, words: type === "gap" ? missing : "" };
  // What is kept and will not come again in its place stands where it is.
  if (type === "gap") for (const entry of outbox.filter(({ kept }) => kept)) settle(entry, {});
  restored(count);
}

/** Count what is still to come of the lines that were missed, and tell of them when all are here. @param {number} left */
function restored(left) {
  restoring.left = left;
  if (left) return;
  const { shown, words } = restoring;
  const again = shown === 1 ? "1 missed message restored" : shown ? `${shown} missed messages restored` : "";
  const text = [again, words].filter(Boolean).join(", ");
  if (text) remark(text[0].toUpperCase() + text.slice(1));
  pump();
}

// ---------------------------------------------------------------- what is to be sent

let outbox = /** @type {Outgoing[]} */ ([]);
let limits = { message: 2000, picture: 2 << 20, alt: 500, burst: 20, per_second: 5 };
let bucket = { tokens: 0, time: 0 };
let pumping = 0;
let nextPicture = 0; // when the server has room for one
let held = false; // the server could keep or tell nothing when it was last asked
const settled = /** @type {Set<string>} */ (new Set()); // our own that were kept before, and may still come

/** Make up a name that nobody else has; randomUUID needs a page over TLS. */
const token = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Queue a text, or a picture with what is said of it, show it, and send it as soon as that is allowed; the same id twice is one message. @param {string} text @param {string} id @param {Blob|null} [file] */
function submit(text, id = token(), file = null) {
  const item = messageItem({ ...you, message: text, alt: text }, true, file);
  const entry = /** @type {Outgoing} */ ({ id, text, item, file, state: "waiting" });
  atEnd = true;
  place(item, null);
  outbox.push(entry);
  mark(entry, "waiting");
  pump();
}

/** Send what waits, in order, no faster than the server allows. */
function pump() {
  clearTimeout(pumping);
  for (const entry of joined && !resuming && !held && !restoring.left ? outbox.filter(({ state }) => state === "waiting") : []) {
    // One picture at a time: an announcement takes the place of another.
    if (entry.file && (performance.now() < nextPicture || outbox.some(({ file, state }) => file && state === "sending"))) continue;
    const wait = spend();
    if (wait) {
      notice("That was quick. The rest goes out in a moment.");
      pumping = setTimeout(pump, wait * SECOND);
      return;
    }
    const { id, text, file } = entry;
    transmit(file ? { type: "picture", size: file.size, alt: text, id } : { type: "usermsg", message: text, id }, entry);
    mark(entry, "sending");
  }
}

/** Take one from the allowance (a token bucket, as the server's); say how many seconds to wait when it is empty. */
function spend() {
  const now = performance.now();
  bucket = { tokens: Math.min(limits.burst, bucket.tokens + ((now - bucket.time) / SECOND) * limits.per_second), time: now };
  if (bucket.tokens < 1) return (1 - bucket.tokens) / limits.per_second + 0.01;
  bucket.tokens -= 1;
  return 0;
}

/** Set and show what has become of a message. @param {Outgoing} entry @param {Outgoing["state"]} state @param {string} [reason] */
function mark(entry, state, reason) {
  const line = /** @type {HTMLElement} */ (entry.item.querySelector(".state"));
  entry.state = entry.item.dataset.state = state;
  line.hidden = state === "sending";
  line.textContent = state === "failed" ? `Not sent: ${reason}` : joined ? "Waiting its turn" : "Waiting for the connection";
  if (state === "failed") {
    line.append(make("button", { type: "button", textContent: "Try again", onclick: () => (forget(entry), submit(entry.text, token(), entry.file)) }));
    line.append(make("button", { type: "button", textContent: "Delete", onclick: () => forget(entry) }));
  }
  keepOutbox();
}

/** Take a message out of the queue. @param {Outgoing} entry */
function drop(entry) {
  outbox = outbox.filter((other) => other !== entry);
  keepOutbox();
}

/** Remove a message that was not sent. @param {Outgoing} entry */
function forget(entry) {
  drop(entry);
  entry.item.remove();
  input.focus();
}

/** Keep what is not sent for a reload, but for pictures, which are too large for that. */
const keepOutbox = () => keep("sessionStorage", `outbox.${room}`, outbox.filter(({ file }) => !file).map(({ id, text }) => ({ id, text })));

/** Send a picture, now that the server has room for it. @param {object} _ @param {Sent} [entry] */
function upload(_, entry) {
  if (!entry || entry === "resume" || !entry.file) return;
  flight.push(entry);
  socket?.send(entry.file);
}

/** Note that a message of our own is kept; its copy settles it, unless that came before. @param {{id?: string, again?: boolean}} ack */
function acknowledged({ id, again }) {
  const entry = outbox.find((other) => other.id === id);
  if (!entry) return;
  entry.kept = true;
  if (!again) return;
  settled.add(entry.id);
  settle(entry, {});
}

/** Turn a message of our own into a sent one: everybody has it now. @param {Outgoing} entry @param {Partial<Shown>} line */
function settle(entry, line) {
  const first = pending();
  drop(entry);
  delete entry.item.dataset.state;
  entry.item.querySelector(".state")?.remove();
  if (line.data) frame(entry.item, /** @type {Shown} */ (line)); // as everybody sees it
  stamp(entry.item, line.time);
  if (first !== entry.item) place(entry.item); // it overtook one that has to wait
  if (entry.file) pump();
}

/** Deal with an error. @param {{code: string, message: string, retry_after?: number}} error @param {Sent} [entry] what caused it */
function failed({ code, message, retry_after = 1 }, entry) {
  const wait = ["rate-limited", "try-again", "busy"].includes(code);
  const line = outbox.find((other) => other === entry); // none where its copy has come all the same
  if (line) mark(line, wait ? "waiting" : "failed", message);
  if (entry === "resume" || code === "try-again") {
    if (!wait) position = null; // it is no position; we go on from where the room is
    // The server takes no other line before that one, which may be kept already, or before a resume.
    held = true;
    if (code === "try-again") notice("The server can keep no messages at the moment. Yours go out as soon as it can.");
    clearTimeout(timers.resume);
    timers.resume = setTimeout(resume, retry_after * SECOND);
    return;
  }
  if (!wait && !entry) notice(message);
  if (!joined && socket) lost(socket, 1013); // the join itself was refused: the room is full
  if (!wait) return pump();
  if (line?.file) {
    // Text goes on meanwhile.
    nextPicture = performance.now() + retry_after * SECOND;
    setTimeout(pump, retry_after * SECOND + 10);
    notice(message);
    return pump();
  }
  bucket = { tokens: 1 - retry_after * limits.per_second, time: performance.now() };
  pump();
}

// ---------------------------------------------------------------- who is here

const NOBODY = /** @type {Digest} */ ({ came: [], went: [], more: 0 });
let people = /** @type {Map<string, Person>} */ (new Map());
let me = "";
const mine = /** @type {Set<string>} */ (new Set()); // every id that we have had
let listing = 0;
let digest = NOBODY;
let digesting = 0;
let lastNote = { item: /** @type {Element|null} */ (null), digest: NOBODY };

/** Take over what a welcome brings. @param {{id: string, count: number, people: Person[], limits?: typeof limits}} welcome */
function welcomed(welcome) {
  const known = people;
  people = new Map(welcome.people.map((person) => [person.id, person]));
  if (!joined) {
    joined = true;
    limits = { ...limits, ...welcome.limits };
    bucket = { tokens: limits.burst - 3, time: performance.now() }; // the resume, the join and the first ping have had theirs
    // Ids change with every connection, names hardly: after a restart only a real difference is news.
    const others = [...people.values()].filter(({ id }) => id !== welcome.id);
    if (known.size) tell(others, [...known.values()].filter(({ id }) => id !== me), 0);
    say("open", "Connected");
    for (const entry of outbox) if (entry.state === "waiting") mark(entry, "waiting");
    pump();
  }
  me = welcome.id;
  mine.add(me);
  list(welcome.count);
}

/** Follow a change. @param {{count: number, joined?: Person[], left?: Person[], renamed?: Person[], more?: number}} change */
function presence({ count, joined: came = [], left: went = [], renamed = [], more = 0 }) {
  for (const { id, name } of renamed) {
    const before = people.get(id)?.name ?? name;
    if (before !== name && id !== me) remark(`${before} is now ${name}`);
  }
  tell(came.filter(({ id }) => id !== me && !people.has(id)), went.filter(({ id }) => id !== me && people.has(id)), more);
  for (const person of [...came, ...renamed]) people.set(person.id, person);
  for (const { id } of went) people.delete(id);
  list(count);
}

/** Gather comings and goings into one note. @param {{name: string}[]} came @param {{name: string}[]} went @param {number} more */
function tell(came, went, more) {
  digest = sum(digest, { came: came.map(({ name }) => name), went: went.map(({ name }) => name), more });
  digesting ||= setTimeout(note, DIGEST);
}

/** Write the note; one that is still the newest is rewritten instead, which is not announced again. */
function note() {
  const last = lastNote.item?.isConnected && lastNote.item.nextElementSibling === pending() ? lastNote : null;
  const all = sum(last?.digest ?? NOBODY, digest);
  [digest, digesting] = [NOBODY, 0];
  const text = sentence(all);
  if (last?.item && text) last.item.textContent = text;
  else last?.item?.remove();
  lastNote = { item: (text && (last?.item ?? remark(text))) || null, digest: all };
}

/** Show the count now, and the list with the next frame. @param {number} count */
function list(count) {
  for (const element of document.querySelectorAll("[data-count]")) element.textContent = String(count);
  cancelAnimationFrame(listing);
  listing = requestAnimationFrame(() => {
    const order = (/** @type {Person} */ a, /** @type {Person} */ b) => Number(b.id === me) - Number(a.id === me) || a.name.localeCompare(b.name);
    const shown = [...people.values()].sort(order).slice(0, LISTED);
    const items = shown.map(({ name, color }) => copyFor("person-template", name, color));
    if (shown[0]?.id === me) items[0].querySelector(".self")?.removeAttribute("hidden");
    $("people").replaceChildren(...items);
    $("unlisted").hidden = count <= shown.length;
    $("unlisted").textContent = `and ${count - shown.length} more`;
  });
}

// ---------------------------------------------------------------- the connection

const declared = document.querySelector("meta[name=wsfront-socket]")?.getAttribute("content") ?? "";
const address = socketAddress(declared, location.href, room);
let socket = /** @type {WebSocket|null} */ (null);
let joined = false;
let attempt = 0;
/** @typedef {Outgoing|"resume"|null} Sent null for what is no message of ours */
let flight = /** @type {Sent[]} */ ([]); // what was sent and not answered
const timers = { stable: 0, ping: 0, patience: 0, retry: 0, countdown: 0, resume: 0 };

/** Show the connection's state; words are announced, so they change only with the news. @param {string} state @param {string} [words] */
function say(state, words) {
  document.documentElement.dataset.connection = state;
  if (words && $("connection").textContent !== words) $("connection").textContent = words;
  $("offline").hidden = state === "open" || (state === "connecting" && !attempt);
}

/** Open a connection, unless there is one. */
function connect() {
  if (socket) return;
  stopTimers();
  say("connecting");
  $("countdown").textContent = "Trying now.";
  const fresh = (socket = new WebSocket(address));
  flight = [];
  timers.patience = setTimeout(() => lost(fresh, 1006), HANDSHAKE);
  fresh.onopen = () => {
    resume();
    transmit({ type: "join", ...you });
    timers.stable = setTimeout(() => (attempt = 0), BACKOFF.stable * SECOND);
    timers.ping = setInterval(probe, PING_EVERY);
    probe();
  };
  fresh.onmessage = ({ data }) => hear(fresh, JSON.parse(data));
  fresh.onclose = ({ code, reason }) => lost(fresh, code, reason);
}

/** Stop what a connection, or the wait for one, has started. */
function stopTimers() {
  for (const timer of Object.values(timers)) clearTimeout(timer);
}

/** Send a message on the connection. @param {object} message @param {Sent} [entry] whose fate the answer decides */
function transmit(message, entry = null) {
  flight.push(entry);
  socket?.send(JSON.stringify(message));
}

/** Ask for a sign of life: a dead network closes nothing by itself. */
function probe() {
  const asked = socket;
  if (asked?.readyState !== WebSocket.OPEN) return;
  transmit({ type: "ping", ref: "alive" });
  spend();
  clearTimeout(timers.patience);
  const uploads = flight.some((sent) => sent && sent !== "resume" && sent.file);
  timers.patience = setTimeout(() => lost(asked, 1006), uploads ? UPLOAD : PATIENCE);
}

/** Hand a message to whom it concerns. @param {WebSocket} from @param {any} message */
function hear(from, message) {
  if (from !== socket) return;
  clearTimeout(timers.patience);
  // Whatever we send has one answer, in order: so an error needs no ref, and one about a frame that came too early has none.
  const told = message.type === "presence" || message.type === "usermsg" || message.type === "picture" || (message.type === "gap" && message.ref === undefined);
  const entry = told ? null : flight.shift();
  const concerns = { usermsg: receive, picture: receive, ready: upload, welcome: welcomed, presence, error: failed, ack: acknowledged, resumed, gap: resumed };
  if (Object.hasOwn(concerns, message.type)) concerns[/** @type {keyof typeof concerns} */ (message.type)](message, entry);
}

/** Give a connection up and plan the next. @param {WebSocket} ended @param {number} code @param {string} [reason] */
function lost(ended, code, reason) {
  if (ended !== socket) return; // it was given up before the browser noticed
  socket = null;
  joined = false;
  resuming = true;
  restoring.left = 0; // what was not shown is asked for again
  held = false;
  stopTimers();
  ended.close();
  // What was not confirmed goes out again, under the same id: if it was kept, that is noticed.
  for (const entry of outbox) {
    const fatal = entry.file && entry.state === "sending" && code !== 1012 && code !== 1001;
    if (fatal) entry.lost = (entry.lost ?? 0) + 1;
    if (fatal && reason === TOO_SLOW) mark(entry, "failed", "The connection is too slow for it.");
    else if (fatal && entry.lost === LOST) mark(entry, "failed", `The connection was lost over it ${LOST} times.`);
    else if (entry.state !== "failed") mark(entry, "waiting");
  }
  const delay = delayFor(code, attempt);
  attempt += 1;
  say(delay === Infinity ? "refused" : "lost", wordsFor(code));
  $("countdown").textContent = reason ? `${reason.replace(/\.$/, "")}.` : "";
  if (delay === Infinity) return;
  const due = Date.now() + delay * SECOND;
  const countDown = () => ($("countdown").textContent = `Trying again in ${Math.max(1, Math.ceil((due - Date.now()) / SECOND))} s.`);
  timers.retry = setTimeout(connect, delay * SECOND);
  timers.countdown = setInterval(countDown, SECOND / 4); // not a live region: a screen reader would read out every second
  countDown();
}

/** Use a sign that the network has changed, or that somebody looks again. */
function wake() {
  if (document.hidden || document.documentElement.dataset.connection === "refused") return;
  if (socket) probe();
  else connect();
}

// ---------------------------------------------------------------- the person

const you = { ...someone(), ...recall("localStorage", "you") };
const client = recall("sessionStorage", "client") ?? token();
keep("sessionStorage", "client", client);

/** Take name and colour from the form, keep them and tell the room. */
function rename() {
  you.name = nameFrom($("name").value) || you.name;
  you.color = $("color").value;
  keep("localStorage", "you", you);
  if (joined) transmit({ type: "join", ...you });
  $("panel").hidePopover();
  notice(`You are ${you.name}.`);
}

/** Share or copy this room's address. */
async function share() {
  const url = new URL(`?${new URLSearchParams({ room })}`, location.href).href;
  try {
    if (matchMedia("(pointer: coarse)").matches && "share" in navigator) return await navigator.share({ title: room, url });
    await navigator.clipboard.writeText(url);
    notice("The link is copied.");
  } catch (error) {
    if (/** @type {Error} */ (error).name !== "AbortError") notice(`The link: ${url}`);
  }
}

/** Follow what is typed: its height, its length, and keep it for a reload. */
function typed() {
  if (!CSS.supports("field-sizing", "content")) {
    input.style.height = "auto";
    input.style.height = `${input.scrollHeight}px`;
  }
  const length = [...input.value].length;
  $("counter").textContent = length > limits.message * 0.8 ? `${length} of ${limits.message}` : "";
  $("counter").classList.toggle("over", length > limits.message);
  keep("sessionStorage", `draft.${room}`, input.value);
}

/** Send what is in the box. */
function send() {
  const text = input.value.trim();
  if ([...text].length > limits.message) return notice(`A message has at most ${limits.message} characters.`);
  if (outbox.length >= QUEUED) return notice(`${QUEUED} messages wait already. This one stays in the box.`);
  input.value = "";
  typed();
  if (text) submit(text);
}

/** Make a picture small enough to be sent. @param {File} file @returns {Promise<Blob>} */
async function fitting(file) {
  if (file.size <= limits.picture) return file;
  const whole = await createImageBitmap(file);
  const scale = Math.min(1, SIDE / Math.max(whole.width, whole.height));
  const canvas = new OffscreenCanvas(Math.round(whole.width * scale), Math.round(whole.height * scale));
  canvas.getContext("2d")?.drawImage(whole, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}

/** Send pictures; what is in the box says what the first one shows. @param {Iterable<File>} files */
async function show(files) {
  const chosen = [...files].filter(({ type }) => PICTURES.includes(type));
  if (!chosen.length) return notice("A picture is PNG, JPEG, GIF or WebP.");
  for (const file of chosen) {
    if (outbox.length >= QUEUED) return notice(`${QUEUED} messages wait already. Send the picture again later.`);
    const small = await fitting(file).catch(() => null);
    if (!small) return notice("This picture is too large, and cannot be made smaller here.");
    const text = input.value.trim();
    const fits = [...text].length <= limits.alt;
    if (fits) input.value = "";
    typed();
    submit(fits ? text : "", token(), small);
  }
}

/** Tell whether files are dragged. @param {DragEvent} event */
const drags = (event) => Boolean(event.dataTransfer?.types.includes("Files"));

// ---------------------------------------------------------------- start

$("room").textContent = room;
$("name").value = you.name = nameFrom(String(you.name)) || someone().name;
$("color").value = you.color = safeColor(you.color);
keep("localStorage", "you", you);
input.value = recall("sessionStorage", `draft.${room}`) ?? "";
typed();
showUnseen();

// Computed at the end of a frame, after our own scrolling: a new message is never taken for a person scrolling up.
new IntersectionObserver(([end]) => ((atEnd = end.isIntersecting), showUnseen()), { root: log, rootMargin: "0px 0px 64px 0px" }).observe($("end"));
new ResizeObserver(() => atEnd && toEnd()).observe(log); // a phone's keyboard makes the log smaller

for (const [form, action] of Object.entries({ composer: send, you: rename, switch: () => (location.search = `?${new URLSearchParams({ room: $("other").value })}`) })) {
  $(form).onsubmit = (/** @type {Event} */ event) => (event.preventDefault(), action());
}
input.addEventListener("input", typed);
input.addEventListener("keydown", (event) => {
  // Enter also ends the composition of a word; 229 is how Safari says so.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  send();
});
$("pick").onclick = () => $("file").click();
$("file").onchange = () => (show([...$("file").files]), ($("file").value = ""), input.focus());
document.addEventListener("paste", (event) => {
  // An office program's text comes with a picture of itself: the text is meant.
  if (!event.clipboardData?.files.length || event.clipboardData.types.includes("text/plain")) return;
  event.preventDefault();
  show(event.clipboardData.files);
});
document.addEventListener("dragover", (event) => {
  if (drags(event)) event.preventDefault();
  document.documentElement.classList.toggle("drop", drags(event));
});
document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget || document.documentElement.classList.remove("drop"));
document.addEventListener("drop", (event) => {
  document.documentElement.classList.remove("drop");
  if (!drags(event)) return;
  event.preventDefault();
  show(event.dataTransfer?.files ?? []);
});
for (const element of document.querySelectorAll("[data-share]")) element.addEventListener("click", share);
$("newer").onclick = () => (toEnd(), input.focus());
$("reconnect").onclick = () => (connect(), input.focus());
$("panel").ontoggle = () => $("panel").matches(":popover-open") && $("close").focus();
matchMedia("(min-width: 60rem)").addEventListener("change", () => $("panel").hidePopover());
document.addEventListener("visibilitychange", () => (showUnseen(), wake()));
for (const sign of ["online", "offline", "pageshow"]) window.addEventListener(sign, wake);
if (matchMedia("(pointer: fine)").matches) input.focus(); // on a phone it would open the keyboard

for (const { id, text } of [recall("sessionStorage", `outbox.${room}`) ?? []].flat()) submit(String(text), id);
connect();
