// A person filmed with depth, to be looked at from the side: each pixel of the person is a small square at its own
// depth, before the known background as a plane. The first view is exactly the video.
//
// `given` (JSON in the page): film, an MP4 with the colors in its left half and the depth (gray, larger is nearer)
// in its right; background, an image; width and height of one half; kind, "person" or "scene".
"use strict";

const given = JSON.parse(document.getElementById("given").textContent);
const canvas = document.getElementById("view");
const note = document.getElementById("note");

const DISTANCE = 3; // of the eye from the middle; the frame is 2 high there
const RELIEF = 0.8; // between depth 0 and depth 1
const MIDDLE = 0.6; // this depth stays where it is: the middle of the person's range [0.2, 1]
const JUMP = 0.08; // neighbors that differ by more are not joined: there the surface is cut
const BEHIND = given.kind === "person" ? -0.55 : -RELIEF * MIDDLE - 0.02; // where the background stands
const CUT = given.kind === "person" ? 0.1 : -1; // below it there is nobody: halfway from 0 to the person's least
const FARTHEST = { yaw: 0.7, pitch: 0.4, zoom: [0.45, 1.6] };

const PERSON_VERTEX = `#version 300 es
precision highp float;
precision highp int;
uniform sampler2D film;
uniform ivec2 size;
uniform mat4 camera;
uniform float eye, relief, middle, jump, cut;
flat out float own;
out vec2 place;
const ivec2 CORNERS[6] = ivec2[](ivec2(0, 0), ivec2(1, 0), ivec2(0, 1), ivec2(0, 1), ivec2(1, 0), ivec2(1, 1));

float depth(ivec2 pixel) {
  pixel = clamp(pixel, ivec2(0), size - 1);
  return texelFetch(film, ivec2(pixel.x + size.x, pixel.y), 0).r;
}

void main() {
  int index = gl_VertexID / 6;
  ivec2 pixel = ivec2(index % size.x, index / size.x), corner = pixel + CORNERS[gl_VertexID % 6];
  own = depth(pixel);
  // A corner lies at the mean depth of those of its four pixels that belong to this one's surface: so smooth
  // surfaces have no cracks, and edges no rubber sheets.
  float sum = 0.0, count = 0.0;
  for (int i = 0; i < 4; i++) {
    float d = depth(corner - ivec2(i & 1, i >> 1));
    if (abs(d - own) < jump) { sum += d; count += 1.0; }
  }
  float z = relief * (sum / max(count, 1.0) - middle);
  place = vec2(corner) / vec2(size);
  vec2 flat_ = (place * 2.0 - 1.0) * vec2(float(size.x) / float(size.y), -1.0);
  gl_Position = own < cut ? vec4(2.0, 2.0, 2.0, 1.0) : camera * vec4(flat_ * (eye - z) / eye, z, 1.0);
}`;

const PERSON_FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
uniform sampler2D film;
uniform ivec2 size;
uniform float cut;
flat in float own;
in vec2 place;
out vec4 color;

void main() {
  float inset = 0.5 / float(size.x);
  vec2 at = vec2(clamp(place.x, inset, 1.0 - inset) * 0.5, place.y);
  // How much of the way from nobody to this surface the depth has come: the outline, smoother than the pixels.
  float inside = cut < 0.0 ? 1.0 : smoothstep(0.3, 0.7, texture(film, at + vec2(0.5, 0.0)).r / own);
  if (inside < 0.05) discard;
  color = vec4(texture(film, at).rgb, inside);
}`;

const PLANE_VERTEX = `#version 300 es
uniform mat4 camera;
uniform float eye, behind, aspect;
out vec2 place;

void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - 1.0;
  vec2 wide = corner * 3.0; // beyond the frame the image is mirrored: no view shows its end
  place = vec2(wide.x, -wide.y) * 0.5 + 0.5;
  gl_Position = camera * vec4(wide * vec2(aspect, 1.0) * (eye - behind) / eye, behind, 1.0);
}`;

const PLANE_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D background;
in vec2 place;
out vec4 color;

void main() {
  color = vec4(texture(background, place).rgb, 1.0);
}`;

function program(gl, vertex, fragment) {
  const made = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
  const uniforms = {};
  for (let i = 0; i < gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS); i++) {
    const { name } = gl.getActiveUniform(made, i);
    uniforms[name] = gl.getUniformLocation(made, name);
  }
  return { made, uniforms };
}

function texture(gl, wrap) {
  const made = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, made);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, wrap);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, wrap);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  return made;
}

function upload(gl, made, image) {
  gl.bindTexture(gl.TEXTURE_2D, made);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
}

// Perspective times view, column by column, of an eye that turns round the middle and looks at it.
function cameraMatrix({ yaw, pitch, zoom }, aspect, window_) {
  const near = 0.1, far = 20, a = (near + far) / (near - far), b = (2 * near * far) / (near - far);
  const fit = Math.min(1, window_ / aspect); // the frame stays whole in a narrow window
  const sx = (DISTANCE / window_) * fit, sy = DISTANCE * fit, away = DISTANCE * zoom;
  const [cy, sY, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  const rows = [[cy, 0, -sY], [-sY * sp, cp, -cy * sp], [sY * cp, sp, cy * cp]];
  const columns = [0, 1, 2].map((i) => [sx * rows[0][i], sy * rows[1][i], a * rows[2][i], -rows[2][i]]);
  return new Float32Array([...columns.flat(), 0, 0, -a * away + b, away]);
}

const DOUBLE = { time: 350, distance: 30 }; // milliseconds and pixels between two taps that belong together

const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const view = { yaw: 0, pitch: 0, zoom: 1, swaying: !matchMedia("(prefers-reduced-motion: reduce)").matches };

function turn(yaw, pitch, zoom) {
  view.swaying = false;
  note.hidden = true;
  view.yaw = clamp(view.yaw + yaw, -FARTHEST.yaw, FARTHEST.yaw);
  view.pitch = clamp(view.pitch + pitch, -FARTHEST.pitch, FARTHEST.pitch);
  view.zoom = clamp(view.zoom * zoom, ...FARTHEST.zoom);
}

function reset() {
  Object.assign(view, { yaw: 0, pitch: 0, zoom: 1, swaying: false });
}

function listen(film) {
  const fingers = new Map();
  let tap = { time: -Infinity, x: 0, y: 0 }, held = { ...view };
  const isSecond = (event) => event.pointerType !== "mouse" && event.timeStamp - tap.time < DOUBLE.time
    && Math.hypot(event.clientX - tap.x, event.clientY - tap.y) < DOUBLE.distance;
  const spread = () => {
    const [p, q] = [...fingers.values()];
    return Math.hypot(p.x - q.x, p.y - q.y);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (!fingers.size) {
      if (isSecond(event)) reset(); // fingers have no double click everywhere
      tap = { time: event.timeStamp, x: event.clientX, y: event.clientY };
      held = { ...view };
    }
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const before = fingers.size === 2 ? spread() : 1;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (fingers.size === 2) return turn(0, 0, before / Math.max(1, spread()));
    const scale = 2 / canvas.clientHeight;
    turn((last.x - event.clientX) * scale, (event.clientY - last.y) * scale, 1);
  });
  canvas.addEventListener("pointerup", (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("pointercancel", () => {
    fingers.clear();
    Object.assign(view, held); // the browser scrolls instead
    note.hidden = !view.swaying;
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    turn(0, 0, Math.exp(clamp(event.deltaY, -100, 100) * 0.0015));
  }, { passive: false });
  canvas.addEventListener("dblclick", reset);
  canvas.addEventListener("keydown", (event) => {
    const step = 0.06, keys = {
      ArrowLeft: () => turn(-step, 0, 1), ArrowRight: () => turn(step, 0, 1),
      ArrowUp: () => turn(0, step, 1), ArrowDown: () => turn(0, -step, 1),
      "+": () => turn(0, 0, 0.93), "-": () => turn(0, 0, 1.07), Home: reset,
      " ": () => (film.paused ? film.play() : film.pause()),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
}

async function start() {
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: true });
  if (!gl) throw new Error("this browser has no WebGL 2");
  const film = document.createElement("video"), plate = new Image();
  Object.assign(film, { muted: true, loop: true, playsInline: true });
  const bytes = Uint8Array.from(atob(given.film), (c) => c.charCodeAt(0));
  film.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  const ready = new Promise((resolve, reject) => {
    film.onloadeddata = resolve;
    film.onerror = () => reject(new Error("this browser cannot play H.264"));
  });
  plate.src = given.background;
  await Promise.all([ready, plate.decode()]);
  film.play().catch(() => {}); // where a browser forbids it, the space bar starts it
  listen(film);

  const people = program(gl, PERSON_VERTEX, PERSON_FRAGMENT), plane = program(gl, PLANE_VERTEX, PLANE_FRAGMENT);
  const plateTexture = texture(gl, gl.MIRRORED_REPEAT), filmTexture = texture(gl, gl.CLAMP_TO_EDGE);
  upload(gl, plateTexture, plate);
  gl.bindVertexArray(gl.createVertexArray());
  gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
  gl.enable(gl.BLEND);
  const aspect = given.width / given.height;

  function draw(now) {
    requestAnimationFrame(draw);
    const sharp = Math.min(2, devicePixelRatio);
    const [wide, high] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * sharp)));
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
    if (view.swaying) Object.assign(view, { yaw: 0.28 * Math.sin(now / 1400), pitch: 0.06 * Math.sin(now / 2300) });
    const camera = cameraMatrix(view, aspect, wide / high);
    gl.viewport(0, 0, wide, high);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);

    gl.disable(gl.DEPTH_TEST); // the plane is behind everything
    gl.useProgram(plane.made);
    gl.uniformMatrix4fv(plane.uniforms.camera, false, camera);
    gl.uniform1f(plane.uniforms.eye, DISTANCE);
    gl.uniform1f(plane.uniforms.behind, BEHIND);
    gl.uniform1f(plane.uniforms.aspect, aspect);
    gl.bindTexture(gl.TEXTURE_2D, plateTexture);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);

    gl.enable(gl.DEPTH_TEST);
    gl.useProgram(people.made);
    upload(gl, filmTexture, film);
    gl.uniformMatrix4fv(people.uniforms.camera, false, camera);
    gl.uniform2i(people.uniforms.size, given.width, given.height);
    const numbers = { eye: DISTANCE, relief: RELIEF, middle: MIDDLE, jump: JUMP, cut: CUT };
    for (const [name, value] of Object.entries(numbers)) gl.uniform1f(people.uniforms[name], value);
    gl.drawArrays(gl.TRIANGLES, 0, 6 * given.width * given.height);
    canvas.dataset.frames = Number(canvas.dataset.frames || 0) + 1;
  }
  requestAnimationFrame(draw);
}

start().catch((error) => {
  note.textContent = `The view from the side cannot be shown: ${error.message}.`;
});
