// Figures in words, as words.rs writes them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** @param {number} value bytes @returns {string} */
export function bytes(value) {
  let scaled = value;
  let unit = 0;
  while (Math.abs(scaled) >= 1000 && unit + 1 < UNITS.length) {
    scaled /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || Math.abs(scaled) >= 100 ? 0 : 1;
  return `${scaled.toFixed(digits).replace("-", "−")} ${UNITS[unit]}`;
}

/** @param {number} value a count @returns {string} */
export function count(value) {
  const rounded = Math.abs(value) < 10 && !Number.isInteger(value) ? value.toFixed(1) : String(Math.round(value));
  return rounded.replace("-", "−").replace(/\B(?=(\d{3})+(?!\d)(?!.*\.))/g, "\u202f");
}

/** A colour of the style sheet. @param {string} name @returns {string} */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Calls back when the theme changes. @param {() => void} then */
export function onTheme(then) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", then);
}
