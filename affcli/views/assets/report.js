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
  let shown = null;  // the video that is looked at, unpacked
  let now = 0;
  let frame = 0;

  // --- the numbers of a video, unpacked when it is looked at ---

  function unpack(video) {
    if (video.edge instanceof Float32Array) return video;
    const set = page.classes[video.set];
    video.names = set.names; video.colours = set.colours; video.inks = set.inks;
    video.edge = new Float32Array(bytes(video.edge).buffer);
    video.label = bytes(video.label);
    video.mean = bytes(video.mean);
    video.peak = video.peak === null ? null : bytes(video.peak);
    video.columns = video.label.length;
    video.start = video.edge[0];
    video.end = video.edge[video.columns];
    return video;
  }

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
    pen.fillStyle = "#eef0f2";
    pen.fillRect(0, top, width, BAND);
    pen.font = "12px system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle";
    for (let first = 0, next; first < video.columns; first = next) {
      const label = video.label[first];
      for (next = first + 1; next < video.columns && video.label[next] === label; next++);
      if (label === UNKNOWN && !isUnsure(video, first)) continue;
      const left = x(video.edge[first]), right = x(video.edge[next]);
      const name = label === UNKNOWN ? "unsure" : video.names[label];
      if (label !== UNKNOWN) {
        pen.fillStyle = video.colours[label];
        pen.fillRect(left, top, right - left, BAND);
      }
      if (right - left > 24 && pen.measureText(name).width < right - left - 8) {
        pen.fillStyle = label === UNKNOWN ? "#59636e" : video.inks[label];
        pen.fillText(name, (left + right) / 2, top + BAND / 2);
      }
    }
  }

  const paintGaps = (found) => (pen, video, x, top, width) => {
    pen.fillStyle = "#d0d7de";
    pen.fillRect(0, top + 7, width, 1);
    pen.fillStyle = "#8b949e";
    for (const [start, end] of found) pen.fillRect(x(start), top + 3, Math.max(1, x(end) - x(start)), GAP);
  };

  const paintClass = (index) => (pen, video, x, top, width) => {
    const ground = top + ROW - 3, tall = ROW - 7;
    pen.fillStyle = "#d0d7de";
    pen.fillRect(0, ground, width, 1);
    pen.fillStyle = video.colours[index];
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
        if (alpha === 1) { pen.strokeStyle = "rgba(31,35,40,.6)"; pen.lineWidth = 0.6; pen.stroke(outline); }
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
    pen.fillStyle = "#59636e"; pen.font = "11px system-ui, sans-serif"; pen.textBaseline = "top";
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
    if (shown.timed && !player.hidden && player.readyState) player.currentTime = Math.min(now + shown.starts, lastMoment()) + 1e-3;
    moveHead();
  }

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

  function show(index, moved) {
    shown = unpack(page.videos[index]);
    document.querySelectorAll("tr[data-video]").forEach((row) => {
      if (Number(row.dataset.video) === index) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    });
    $("title").textContent = shown.name;
    $("facts").textContent = shown.facts;
    now = shown.start;
    setSource();
    const rows = rowsOf(shown);
    $("names").replaceChildren(...rows.map((row) => {
      const cell = make("div", `name ${row.kind}`);
      cell.append(make("span", "", row.name));
      cell.title = row.name;
      return cell;
    }));
    $("values").replaceChildren(...rows.map((row) => make("div", `value ${row.kind}`)));
    slider.setAttribute("aria-label", `Position in ${shown.name}`);
    slider.setAttribute("aria-valuemin", shown.start.toFixed(2));
    slider.setAttribute("aria-valuemax", shown.end.toFixed(2));
    listSegments();
    draw();
    if (moved) { $("detail").scrollIntoView(); $("title").focus({ preventScroll: true }); }
  }

  function setSource() {
    player.pause();
    player.hidden = shown.source === null;
    $("beside").classList.toggle("has-video", shown.source !== null);
    player.setAttribute("aria-label", `Video ${shown.name}`);
    // Of a file that starts late Chromium learns the right length only from its content.
    player.preload = shown.starts ? "auto" : "metadata";
    if (shown.source === null) { player.removeAttribute("src"); player.load(); } else player.src = shown.source;
    say(shown.source === null ? "No video file was found for this table; affcli report --videos names their folder."
      : shown.timed ? "" : "The table has no times, so the timeline counts frames and does not move the video.");
  }

  function say(text) {
    $("message").textContent = text;
    $("message").hidden = !text;
  }
  player.addEventListener("error", () => {
    if (!shown.source) return;
    player.hidden = true;
    say(`This browser cannot play ${decodeURI(shown.source)}. `
      + "The timeline works without it; affcli overlay makes an .mp4 of any video.");
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

  const chosen = () => Math.min(Number((location.hash.match(/^#video=(\d+)$/) || [0, 0])[1]), page.videos.length - 1);
  window.addEventListener("hashchange", () => show(chosen(), true));
  new ResizeObserver(() => shown && draw()).observe(slider);
  if (page.videos.length) { $("detail").hidden = false; show(chosen(), false); }
})();
