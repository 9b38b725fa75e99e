"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const make = (tag, kind, text) => {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const UNKNOWN = 255;  // of labels and of probabilities
  const BAND = 28, GAP = 10, ROW = 28, AXIS = 24;  // as in the style sheet, less what stands between them
  const player = $("player"), slider = $("slider"), canvas = slider.querySelector("canvas"), head = $("head");
  const dark = window.matchMedia("screen and (prefers-color-scheme: dark)");
  let shown = null;  // the video that is looked at, unpacked
  let now = 0;
  let ink = {}, colours = [];  // of the colour scheme
  let frame = 0;
  let beyond = null;

  // --- the numbers of a video, unpacked when it is looked at ---

  function unpack(video) {
    video.sets = page.classes[video.set];
    video.names = video.sets.names;
    video.label = bytes(video.label);
    video.edge = video.span ? evenly(...video.span, video.label.length) : new Float32Array(bytes(video.edge).buffer);
    video.mean = bytes(video.mean);
    video.peak = video.peak === null ? null : bytes(video.peak);
    video.columns = video.label.length;
    video.start = video.edge[0];
    video.end = video.edge[video.columns];
    return video;
  }

  const evenly = (start, end, count) => Float32Array.from({ length: count + 1 }, (_, at) => start + ((end - start) * at) / count);

  function columnAt(video, time) {
    let low = 0, high = video.columns - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (video.edge[middle] <= time) low = middle; else high = middle - 1;
    }
    return low;
  }

  // A column without a label whose probabilities are known.
  const isUnsure = (video, column) => video.label[column] === UNKNOWN && video.mean[column] !== UNKNOWN;

  function likeliest(video, column) {
    let best = 0;
    for (let index = 1; index < video.names.length; index++) {
      if (video.mean[index * video.columns + column] > video.mean[best * video.columns + column]) best = index;
    }
    return best;
  }

  function clock(time, always) {
    const tenths = Math.round(time * 10);
    const minutes = Math.floor(tenths / 600), rest = tenths % 600;
    const seconds = String(Math.floor(rest / 10)).padStart(2, "0") + (always || rest % 10 ? "." + (rest % 10) : "");
    return minutes < 60 ? `${minutes}:${seconds}`
      : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${seconds}`;
  }
  const when = (video, time) => (video.timed ? clock(time, true) : `frame ${Math.floor(time) + 1}`);

  // --- drawing ---

  function draw() {
    const of = getComputedStyle(document.documentElement);
    const paint = (name) => of.getPropertyValue(`--${name}`);
    ink = { ground: paint("ground"), rule: paint("rule"), gap: paint("gap"), line: paint("line"), muted: paint("muted") };
    colours = shown.sets[dark.matches ? "dark" : "light"];
    const video = shown, scale = window.devicePixelRatio || 1, width = slider.clientWidth;
    const height = rowsOf(video).reduce((sum, row) => sum + row.height, 0);
    canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale);
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const x = (time) => ((time - video.start) / (video.end - video.start)) * width;
    let top = 0;
    for (const row of rowsOf(video)) {
      row.paint(pen, video, x, top, width);
      top += row.height;
    }
    moveHead();
  }

  function rowsOf(video) {
    const gaps = [["no face", video.face], ["no audio", video.audio]].filter(([, found]) => found.length);
    return [
      { kind: "band", name: "label", height: 32, paint: paintBand },
      ...gaps.map(([name, found]) => ({ kind: "gap", name, height: 16, paint: paintGaps(found) })),
      ...video.names.map((name, index) => ({ kind: "row", name, index, height: ROW, paint: paintClass(index) })),
      { kind: "axis", name: "", height: AXIS, paint: paintAxis },
    ];
  }

  function paintBand(pen, video, x, top, width) {
    pen.fillStyle = ink.ground;
    pen.fillRect(0, top, width, BAND);
    pen.font = "12px system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle";
    for (let first = 0, next; first < video.columns; first = next) {
      const label = video.label[first];
      for (next = first + 1; next < video.columns && video.label[next] === label; next++);
      if (label === UNKNOWN && !isUnsure(video, first)) continue;
      const left = x(video.edge[first]), right = x(video.edge[next]);
      const name = label === UNKNOWN ? "unsure" : video.names[label];
      if (label !== UNKNOWN) {
        pen.fillStyle = colours[label];
        pen.fillRect(left, top, right - left, BAND);
      }
      if (right - left > 24 && pen.measureText(name).width < right - left - 8) {
        pen.fillStyle = label === UNKNOWN ? ink.muted : textOn(colours[label]);
        pen.fillText(name, (left + right) / 2, top + BAND / 2);
      }
    }
  }

  // Black or white, whichever is read more easily (WCAG).
  function textOn(colour) {
    const [red, green, blue] = [1, 3, 5].map((at) => {
      const value = parseInt(colour.slice(at, at + 2), 16) / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) ** 2 < 1.05 * 0.05 ? "#fff" : "#000";
  }

  const paintGaps = (found) => (pen, video, x, top, width) => {
    pen.fillStyle = ink.rule;
    pen.fillRect(0, top + 7, width, 1);
    pen.fillStyle = ink.gap;
    for (const [start, end] of found) pen.fillRect(x(start), top + 3, Math.max(1, x(end) - x(start)), GAP);
  };

  const paintClass = (index) => (pen, video, x, top, width) => {
    const ground = top + ROW - 3, tall = ROW - 7;
    pen.fillStyle = ink.rule;
    pen.fillRect(0, ground, width, 1);
    pen.fillStyle = colours[index];
    for (const [values, alpha] of [[video.peak, 0.35], [video.mean, 1]]) {
      if (!values) continue;
      pen.globalAlpha = alpha;
      const areas = areasOf(video, values.subarray(index * video.columns, (index + 1) * video.columns));
      for (const points of areas) {
        const path = new Path2D();
        points.forEach(([time, value], at) => path[at ? "lineTo" : "moveTo"](x(time), ground - tall * value));
        const outline = new Path2D(path);
        path.lineTo(x(points[points.length - 1][0]), ground); path.lineTo(x(points[0][0]), ground); path.closePath();
        pen.fill(path);
        if (alpha === 1) { pen.strokeStyle = ink.line; pen.lineWidth = 0.6; pen.stroke(outline); }
      }
    }
    pen.globalAlpha = 1;
  };

  // Stretches where a probability is known, each as points through the middles of its columns.
  function areasOf(video, values) {
    const areas = [];
    for (let first = 0, next; first < values.length; first = next) {
      for (next = first + 1; next < values.length && (values[next] === UNKNOWN) === (values[first] === UNKNOWN); next++);
      if (values[first] === UNKNOWN) continue;
      const points = [[video.edge[first], values[first] / 254]];
      for (let at = first; at < next; at++) points.push([(video.edge[at] + video.edge[at + 1]) / 2, values[at] / 254]);
      points.push([video.edge[next], values[next - 1] / 254]);
      areas.push(points);
    }
    return areas;
  }

  function paintAxis(pen, video, x, top, width) {
    const length = video.end - video.start;
    const steps = video.timed
      ? [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400]
      : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6];
    const step = steps.find((one) => (width * one) / length > 72) || steps[steps.length - 1];
    pen.fillStyle = ink.muted; pen.font = "11px system-ui, sans-serif"; pen.textBaseline = "top";
    for (let k = Math.ceil(video.start / step); k * step <= video.end + 1e-4; k++) {
      const at = Math.min(x(k * step), width - 0.5), text = video.timed ? clock(k * step) : String(k * step);
      const half = pen.measureText(text).width / 2;
      pen.fillRect(at - 0.5, top, 1, 4);
      pen.textAlign = at < half ? "left" : at > width - half ? "right" : "center";
      pen.fillText(text, at < half ? 0 : at > width - half ? width : at, top + 7);
    }
  }

  // --- where we are ---

  function moveHead() {
    const video = shown, column = columnAt(video, now), label = video.label[column];
    head.style.left = `${((now - video.start) / (video.end - video.start)) * 100}%`;
    const of = (index) => video.mean[index * video.columns + column];
    const percent = (index) => (of(index) === UNKNOWN ? "" : `${Math.round((of(index) / 254) * 100)}`);
    document.querySelectorAll("#values .row").forEach((cell, index) => {
      cell.textContent = percent(index);
      cell.classList.toggle("on", index === label);
    });
    const best = likeliest(video, column);
    const said = label !== UNKNOWN ? `${video.names[label]} ${percent(label)} %`
      : isUnsure(video, column) ? `unsure (${video.names[best]} ${percent(best)} %)` : "no label";
    $("now").textContent = `${when(video, now)}  ${said}`;
    slider.setAttribute("aria-valuenow", now.toFixed(2));
    slider.setAttribute("aria-valuetext", `${when(video, now)}, ${said}`);
  }

  const lastMoment = () => Math.max(player.duration, shown.end + shown.starts) - 2e-3;

  // A player counts from the zero of its container, the table from where the container starts: `shown.starts` apart.
  // A millisecond later, so that a rounded time does not show the frame before.
  function seek(time) {
    now = Math.min(Math.max(time, shown.start), shown.end);
    // A video's last moment shows no frame in some browsers.
    if (shown.timed && !player.hidden && player.readyState) moveTo(Math.min(now + shown.starts, lastMoment()) + 1e-3);
    moveHead();
  }

  // While a browser still learns how long a file is, it goes no further than to the end that it knows.
  function moveTo(moment) {
    player.currentTime = moment;
    beyond = player.currentTime < moment - 1e-2 ? moment : null;
  }
  player.addEventListener("durationchange", () => { if (beyond !== null) moveTo(beyond); });

  function follow() {
    cancelAnimationFrame(frame);
    if (!shown.timed || player.hidden) return;
    now = Math.min(Math.max(player.currentTime - shown.starts, shown.start), shown.end);
    moveHead();
    if (!player.paused) frame = requestAnimationFrame(follow);
  }
  for (const event of ["play", "pause", "seeked", "timeupdate"]) player.addEventListener(event, follow);

  const toggle = () => {
    if (player.hidden) return;
    if (player.paused) player.play().catch(() => {}); else player.pause();
  };

  const timeAt = (event) => {
    const box = slider.getBoundingClientRect();
    return shown.start + ((event.clientX - box.left) / box.width) * (shown.end - shown.start);
  };
  slider.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    slider.setPointerCapture(event.pointerId);
    seek(timeAt(event));
  });
  slider.addEventListener("pointermove", (event) => {
    if (slider.hasPointerCapture(event.pointerId)) seek(timeAt(event));
  });

  slider.addEventListener("keydown", (event) => {
    const starts = shown.segments.map((segment) => segment[0]);
    const step = shown.timed ? 1 : 25;
    const moves = {
      ArrowLeft: () => now - (event.shiftKey ? step / 25 : step), ArrowRight: () => now + (event.shiftKey ? step / 25 : step),
      ArrowDown: () => now - step, ArrowUp: () => now + step,
      PageUp: () => starts.find((start) => start > now + 0.02) ?? shown.end,
      PageDown: () => [...starts].reverse().find((start) => start < now - 0.02) ?? shown.start,
      Home: () => shown.start, End: () => shown.end,
    };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === " " || event.key === "Enter") toggle();
    else if (moves[event.key]) seek(moves[event.key]());
    else return;
    event.preventDefault();
  });

  // --- choosing a video ---

  const list = $("list");
  // As they came, those of videos first; most of them in a template, where they cost nothing.
  const rows = [...$("rows").children, ...$("further").content.children];
  const numberOf = new Map(page.index.map(([name], index) => [name, index]).reverse());

  function show(index, moved) {
    mark(index);
    wanted = index;
    unfold(index, moved);
  }

  // The numbers of a video stand at the end of the page, which may still be on its way; the list is not moved again
  // when they have come, as somebody may have sorted it meanwhile.
  function unfold(index, moved) {
    if (wanted !== index) return;
    const block = $(`v${index}`);
    if (!block && document.readyState === "loading") {
      setTimeout(unfold, 50, index, moved);
      return;
    }
    $("detail").hidden = false;
    if (shown === null || shown.index !== index) shown = { ...unpack(JSON.parse(block.textContent)), index };
    $("title").textContent = shown.name;
    $("facts").textContent = shown.facts;
    $("problem").textContent = shown.problem || "";
    $("problem").hidden = !shown.problem;
    now = shown.start;
    setSource();
    const parts = rowsOf(shown);
    $("names").replaceChildren(...parts.map((row) => {
      const cell = make("div", `name ${row.kind}`);
      cell.append(make("span", "", row.name));
      cell.title = row.name;
      return cell;
    }));
    $("values").replaceChildren(...parts.map((row) => make("div", `value ${row.kind}`)));
    slider.setAttribute("aria-label", `Position in ${shown.name}`);
    slider.setAttribute("aria-valuemin", shown.start.toFixed(2));
    slider.setAttribute("aria-valuemax", shown.end.toFixed(2));
    listSegments();
    draw();
    if (moved) { $("detail").scrollIntoView(); $("title").focus({ preventScroll: true }); }
  }

  let marked = null, wanted = null;
  function mark(index) {
    if (marked) marked.removeAttribute("aria-current");
    marked = rows[index];
    marked.setAttribute("aria-current", "true");
    const place = order.indexOf(index);
    if (place < 0) return;  // the search leaves it out
    if (place < from || place >= to) showRows(place - 20);
    const above = marked.offsetTop - headHeight();
    if (above < list.scrollTop || marked.offsetTop + marked.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = above;
  }

  // --- the list: only the rows around those in view are in the page, and space for the others ---

  const AT_ONCE = 80, AROUND = 30;
  const spaces = [make("tr", "space"), make("tr", "space")];
  for (const space of spaces) { space.append(make("td")); space.ariaHidden = "true"; space.firstChild.colSpan = 6; }
  let order = rows.map((_, index) => index), from = 0, to = 0, rowHeight = 50;
  const headHeight = () => list.querySelector("thead").offsetHeight;

  function showRows(first) {
    from = Math.max(0, Math.min(first, order.length - AT_ONCE));
    to = Math.min(order.length, from + AT_ONCE);
    $("rows").replaceChildren(spaces[0], ...order.slice(from, to).map((index) => rows[index]), spaces[1]);
    if (to > from) {
      const last = rows[order[to - 1]];
      rowHeight = (last.offsetTop + last.offsetHeight - rows[order[from]].offsetTop) / (to - from) || rowHeight;
    }
    [from, order.length - to].forEach((left, end) => {
      spaces[end].firstChild.style.height = `${left * rowHeight}px`;
      spaces[end].hidden = !left;
    });
  }

  // Where the rows in the page are about to end, others take their place, and what is in view stays where it is.
  function followScroll() {
    scrolling = 0;
    if (to <= from) return;
    const top = list.scrollTop, bottom = top + list.clientHeight, margin = list.clientHeight;
    const end = rows[order[to - 1]].offsetTop;
    if (!(from > 0 && rows[order[from]].offsetTop > top - margin) && !(to < order.length && end < bottom + margin)) return;
    const place = order.slice(from, to).findIndex((index) => rows[index].offsetTop + rows[index].offsetHeight > top);
    const kept = place >= 0 && rows[order[from + place]].offsetTop < bottom ? rows[order[from + place]] : null;
    const first = (kept ? from + place : Math.floor(top / rowHeight)) - AROUND;
    if (Math.max(0, Math.min(first, order.length - AT_ONCE)) === from) return;
    const was = kept && kept.offsetTop;
    showRows(first);
    if (kept) list.scrollTop = top + kept.offsetTop - was;
  }
  let scrolling = 0;
  list.addEventListener("scroll", () => { scrolling = scrolling || requestAnimationFrame(followScroll); });
  window.addEventListener("beforeprint", () => { $("rows").replaceChildren(...order.map((index) => rows[index])); });
  window.addEventListener("afterprint", () => showRows(from));

  const AGAIN = [" makes an .mp4 of each video in DIR; then build the page again with ", ["--videos drawn/"], "."];
  function setSource() {
    beyond = null;
    player.pause();
    const place = $("beside");
    place.classList.remove("sound");
    place.classList.toggle("has-video", shown.source !== null && !shown.sound);
    player.hidden = shown.source === null;
    player.classList.toggle("waiting", shown.source !== null);  // until it is known that it plays
    player.setAttribute("aria-label", `Video ${shown.name}`);
    // Of a file that starts late Chromium learns the right length only from its content.
    player.preload = shown.starts ? "auto" : "metadata";
    if (shown.source === null) { player.removeAttribute("src"); player.load(); } else player.src = shown.source;
    if (shown.file) say(`Browsers cannot play ${shown.file}. `, ["affcli overlay out/ --videos DIR -o drawn/"], ...AGAIN);
    else if (shown.source === null) say("No video file was found for this table. To watch it here, build the page again with ", ["--videos DIR"], ", the folder that holds the video.");
    else say(shown.timed ? "" : "The table has no times, so the timeline counts frames and does not move the video.");
  }

  // Texts, and in brackets what is to be typed.
  function say(...parts) {
    $("message").replaceChildren(...parts.map((part) => (Array.isArray(part) ? make("code", "", part[0]) : part)));
    $("message").hidden = parts[0] === "";
  }
  player.addEventListener("loadedmetadata", () => {
    const silent = !player.videoWidth;
    player.classList.remove("waiting");
    $("beside").classList.toggle("sound", silent);
    $("beside").classList.toggle("has-video", !silent);
    if (silent && !shown.sound) say(`This browser plays only the sound of ${decodeURI(shown.source)}.`);
  });
  player.addEventListener("error", () => {
    if (!shown.source) return;
    player.hidden = true;
    $("beside").classList.remove("has-video");
    say(`This browser cannot play ${decodeURI(shown.source)}. If the file is there, `, ["affcli overlay out/ --videos DIR -o drawn/"], ...AGAIN);
  });

  function listSegments() {
    const video = shown;
    $("count").textContent = `Segments (${(video.segments.length + video.more).toLocaleString("en")})`;
    $("segments").replaceChildren(...video.segments.map(([start, end, label, confidence]) => {
      const row = make("tr"), button = make("button", "", when(video, start));
      button.type = "button";
      button.addEventListener("click", () => seek(start));
      const length = video.timed ? `${(end - start).toFixed(2)} s` : `${end - start} frames`;
      const cell = make("td"), sure = confidence === null ? "" : `${Math.round(confidence * 100)} %`;
      cell.append(button);
      row.append(cell, make("td", "number", length), make("td", "", video.names[label]), make("td", "number", sure));
      return row;
    }));
    $("more").hidden = !video.more;
    $("more").textContent = `and ${video.more.toLocaleString("en")} more: affcli export --to segments lists all.`;
  }

  function chosen() {
    let name = location.hash.slice(1);
    try { name = decodeURIComponent(name); } catch { /* a % of the name itself */ }
    const index = numberOf.get(name);
    if (index !== undefined || !name || $(name)) return index;
    return null;  // there is none of that name
  }

  function followLink(moved) {
    const index = chosen();
    if (index !== undefined && index !== null) show(index, moved);
    else if (shown === null && page.index.length) show(0, false);
    if (index === null) say(`There is no video named ${location.hash.slice(1)} on this page.`);
  }
  window.addEventListener("hashchange", () => followLink(true));
  $("rows").addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-video]");
    if (row && !event.target.closest("a") && !String(getSelection())) row.querySelector("a").click();
  });

  // --- sorting and searching ---

  const texts = rows.map((row) => row.textContent.toLowerCase());
  const KEYS = { name: 0, length: 1, label: 2, confidence: 4, face: 5, audio: 6 };
  const names = new Intl.Collator("en", { numeric: true });
  let key = null, falling = false;
  const valueOf = (index) => (page.index[index] ? page.index[index][KEYS[key]] : null);

  function compare(one, other) {
    const a = valueOf(one), b = valueOf(other);
    if (a === null || b === null) return (a === null) - (b === null) || one - other;  // what has no value comes last
    let order = typeof a === "string" ? names.compare(a, b) : a - b;
    if (!order && key === "label") order = page.index[other][3] - page.index[one][3];  // the larger share first
    return (falling ? -order : order) || one - other;
  }

  function arrange() {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    order = rows.map((_, index) => index).filter((index) => words.every((word) => texts[index].includes(word)));
    if (key) order.sort(key === "name" ? (a, b) => (falling ? -1 : 1) * names.compare(rows[a].dataset.name, rows[b].dataset.name) || a - b : compare);
    list.scrollTop = 0;
    showRows(0);
    $("found").textContent = words.length ? `${order.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}` : "";
  }

  for (const button of document.querySelectorAll("thead button[data-key]")) {
    button.addEventListener("click", () => {
      const own = button.dataset.key;
      falling = own === key ? !falling : !["name", "label"].includes(own);  // numbers begin with the largest
      key = own;
      for (const head of document.querySelectorAll("thead [aria-sort]")) head.removeAttribute("aria-sort");
      button.parentElement.setAttribute("aria-sort", falling ? "descending" : "ascending");
      arrange();
    });
  }
  let waiting = 0;
  $("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(arrange, 60); });
  $("search").value = "";
  $("tools").hidden = rows.length < 2;
  showRows(0);

  new ResizeObserver(() => shown && draw()).observe(slider);
  dark.addEventListener("change", () => shown && draw());
  followLink(false);
})();
