"""GLSL of the rasterizer: shading and shadows, then occlusion, tone mapping and downsampling in one pass."""

SURFACE_VERTEX = """#version 330
in vec3 position; in vec3 normal; in vec2 uv;
uniform mat4 clip_from_world; uniform mat4 view; uniform mat4 light_from_world;
out vec3 world; out vec3 world_normal; out vec2 st; out float distance_z; out vec3 light_position;
void main() {
  world = position; world_normal = normal; st = uv;
  distance_z = -(view * vec4(position, 1)).z;
  // offset along the normal, so that surfaces do not shadow themselves
  light_position = (light_from_world * vec4(position + normal * 0.006, 1)).xyz * 0.5 + 0.5;
  gl_Position = clip_from_world * vec4(position, 1);
}"""

_SHADOWED = """
uniform sampler2DShadow shadows; uniform bool has_shadows;
float lit(vec3 at) { // share of the key light that reaches the point
  if (!has_shadows || any(lessThan(at.xy, vec2(0))) || any(greaterThan(at.xy, vec2(1)))) return 1.0;
  vec2 texel = 1.0 / vec2(textureSize(shadows, 0));
  float sum = 0.0;
  for (int i = -1; i <= 1; i += 2) for (int j = -1; j <= 1; j += 2)
    sum += texture(shadows, vec3(at.xy + vec2(i, j) * 0.7 * texel, at.z - 0.0015));
  return sum / 4.0;
}"""

SURFACE_FRAGMENT = (
    """#version 330
in vec3 world; in vec3 world_normal; in vec2 st; in float distance_z; in vec3 light_position;
layout(location = 0) out vec4 out_color; layout(location = 1) out vec2 out_depth;
uniform sampler2D image; uniform sampler2D bumps; uniform sampler2D sky;
uniform bool has_bumps; uniform bool is_catcher; uniform bool is_person; uniform bool is_skin;
uniform float sun; // 1, or 0 for a scene in full shadow
uniform float wrap; uniform float cutoff; uniform vec4 shine; // strength, sharpness, -, mirror
uniform vec3 ambient[9]; uniform vec3 key; uniform vec3 key_color; uniform vec3 fill;
uniform vec3 fill_color; uniform vec3 eye;
const float PI = 3.14159265;"""
    + _SHADOWED
    + """
vec3 irradiance(vec3 n) {
  return max(vec3(0), ambient[0] + ambient[1] * n.y + ambient[2] * n.z + ambient[3] * n.x
    + ambient[4] * n.x * n.y + ambient[5] * n.y * n.z + ambient[6] * (3 * n.z * n.z - 1)
    + ambient[7] * n.x * n.z + ambient[8] * (n.x * n.x - n.y * n.y));
}
vec3 bumped(vec3 n) { // tangents from screen derivatives
  vec3 dx = dFdx(world), dy = dFdy(world); vec2 sx = dFdx(st), sy = dFdy(st);
  vec3 px = cross(n, dx), py = cross(dy, n);
  vec3 t = py * sx.x + px * sy.x, b = py * sx.y + px * sy.y;
  float scale = inversesqrt(max(max(dot(t, t), dot(b, b)), 1e-12));
  vec3 m = texture(bumps, st).xyz * 2 - 1;
  return normalize((t * m.x + b * m.y) * 0.8 * scale + n * max(m.z, 0.2));
}
void main() {
  vec4 texel = texture(image, st);
  if (texel.a < cutoff) discard;
  vec3 ray = normalize(world - eye);
  if (is_catcher) {
    vec2 at = vec2(atan(ray.x, ray.z) / (2 * PI), acos(clamp(ray.y, -1, 1)) / PI);
    out_color = vec4(textureLod(sky, at, 0).rgb * mix(0.45, 1.0, sun), 1); out_depth = vec2(distance_z, 0);
    return;
  }
  float s = lit(light_position) * sun;
  vec3 n = normalize(world_normal);
  if (!gl_FrontFacing && is_person) n = dot(n, ray) > 0 ? -n : n;
  if (has_bumps) n = bumped(n);
  float facing = dot(n, key);
  vec3 direct = vec3(clamp((facing + wrap) / (1 + wrap), 0, 1));
  if (is_skin) direct = clamp((facing + vec3(0.32, 0.14, 0.09)) / vec3(1.32, 1.14, 1.09), 0, 1);
  vec3 albedo = pow(texel.rgb, vec3(2.2));
  vec3 color = albedo * (irradiance(n) + key_color * direct * s + fill_color * max(dot(n, fill), 0));
  float gloss = pow(max(dot(n, normalize(key - ray)), 0), shine.y);
  float fresnel = 0.04 + 0.96 * pow(1 - max(dot(n, -ray), 0), 5);
  color += shine.x * gloss * s * key_color * step(0, facing);
  color += shine.w * fresnel * irradiance(reflect(ray, n));
  out_color = vec4(color, 1);
  out_depth = vec2(distance_z, is_person ? 1 : 0);
}"""
)

# The empty scene is rendered once per clip, lit and in full shadow; each frame only mixes the two.
BACKDROP_FRAGMENT = (
    """#version 330
in float distance_z; in vec3 light_position;
layout(location = 0) out vec4 out_color; layout(location = 1) out vec2 out_depth;
uniform sampler2D bright; uniform sampler2D dim;"""
    + _SHADOWED
    + """
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec3 full = texelFetch(bright, at, 0).rgb;
  float s = lit(light_position);
  out_color = vec4(s < 1 ? mix(texelFetch(dim, at, 0).rgb, full, s) : full, 1);
  out_depth = vec2(distance_z, 0);
}"""
)

COPY_FRAGMENT = """#version 330
layout(location = 0) out vec4 out_color; layout(location = 1) out vec2 out_depth; uniform sampler2D bright;
void main() { out_color = texelFetch(bright, ivec2(gl_FragCoord.xy), 0); out_depth = vec2(1000, 0); }"""

SHADOW_VERTEX = """#version 330
in vec3 position; in vec2 uv; uniform mat4 light_from_world; out vec2 st;
void main() { st = uv; gl_Position = light_from_world * vec4(position, 1); }"""

SHADOW_FRAGMENT = """#version 330
in vec2 st; uniform sampler2D image; uniform float cutoff;
void main() { if (texture(image, st).a < cutoff) discard; }"""

SCREEN_VERTEX = """#version 330
in vec2 corner; void main() { gl_Position = vec4(corner, 0, 1); }"""

SKY_FRAGMENT = """#version 330
layout(location = 0) out vec4 out_color; layout(location = 1) out vec2 out_depth;
uniform sampler2D sky; uniform mat4 world_from_view; uniform float focal; uniform float side;
const float PI = 3.14159265;
void main() {
  vec2 p = (gl_FragCoord.xy - side / 2) / focal;
  vec3 ray = normalize((world_from_view * vec4(p, -1, 0)).xyz);
  vec2 at = vec2(atan(ray.x, ray.z) / (2 * PI), acos(clamp(ray.y, -1, 1)) / PI);
  out_color = vec4(textureLod(sky, at, 0).rgb, 1); out_depth = vec2(1000, 0);
}"""

# A final pixel is the mean of a block of samples. Depth is averaged over the person's samples alone, so that
# it is exact at the silhouette. Ambient occlusion measures how far the surroundings rise above the surface's
# plane.
FINISH_FRAGMENT = """#version 330
layout(location = 0) out vec4 out_color; layout(location = 1) out vec2 out_depth;
uniform sampler2D colors; uniform sampler2D depths;
uniform int block; uniform float focal; uniform float exposure; uniform float strength; uniform vec3 white;
float noise(vec2 p) { return fract(52.9829189 * fract(dot(p, vec2(0.06711056, 0.00583715)))); }
float depth_at(ivec2 at) {
  return texelFetch(depths, clamp(at, ivec2(0), textureSize(depths, 0) - 1), 0).r;
}
float occlusion(ivec2 center, float z) {
  float here = depth_at(center);
  vec2 ahead = vec2(depth_at(center + ivec2(1, 0)), depth_at(center + ivec2(0, 1))) - here;
  vec2 behind = here - vec2(depth_at(center - ivec2(1, 0)), depth_at(center - ivec2(0, 1)));
  vec2 slope = mix(ahead, behind, lessThan(abs(behind), abs(ahead))); // the side without a depth edge
  float radius = 0.22 * focal * float(block) / z, start = noise(gl_FragCoord.xy) * 6.2831853, sum = 0.0;
  for (int k = 0; k < 12; k++) {
    float angle = start + float(k) * 2.3999632;
    vec2 step_ = radius * (float(k) + 0.5) / 12 * vec2(cos(angle), sin(angle));
    float other = depth_at(center + ivec2(step_));
    float rise = z + dot(slope, step_) - other;
    sum += clamp((rise - 0.012) / 0.05, 0, 1) * clamp(1 - (rise - 0.25) / 0.2, 0, 1);
  }
  return sum / 12.0;
}
void main() {
  ivec2 base = ivec2(gl_FragCoord.xy) * block;
  vec3 sum = vec3(0); float person = 0, person_z = 0, scene_z = 0, all = float(block * block);
  for (int i = 0; i < block; i++) for (int j = 0; j < block; j++) {
    vec3 c = texelFetch(colors, base + ivec2(i, j), 0).rgb;
    vec2 d = texelFetch(depths, base + ivec2(i, j), 0).rg;
    sum += c / (1 + 0.25 * max(c.r, max(c.g, c.b))); // compressed: one bright sample must not dominate
    if (d.g > 0.5) { person += 1; person_z += d.r; } else scene_z += d.r;
  }
  vec3 mean = sum / all; mean /= max(vec3(1e-3), 1 - 0.25 * mean);
  float share = person / all;
  float z = share >= 0.5 ? person_z / person : scene_z / max(all - person, 1);
  float dark = strength > 0 && z < 50 ? occlusion(base + block / 2, z) : 0;
  vec3 c = mean * (1 - strength * dark) * exposure * white;
  c = c * (2.51 * c + 0.03) / (c * (2.43 * c + 0.59) + 0.14); // filmic curve
  out_color = vec4(pow(clamp(c, 0, 1), vec3(1 / 2.2)), share);
  out_depth = vec2(z, share);
}"""
