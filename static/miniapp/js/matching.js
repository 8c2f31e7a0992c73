/** Which areas a customer means by what they typed: pure functions over the areas of the API. */

/** Keys of the two layouts that lie on each other, for who forgot to switch: "nehwbz" is "турция". */
const LATIN_KEYS = "`qwertyuiop[]asdfghjkl;'zxcvbnm,.";
const RUSSIAN_KEYS = "ёйцукенгшщзхъфывапролджэячсмитьбю";
const SHORTEST_INSIDE = 3; // letters that may be found in the middle of a name
const COUNTRIES_TRACED = 3; // best hits whose regions are shown too
const UNFINISHED = 0.25; // a word that is still being typed is a little further away than a whole one

/** Letters without case and accents: "Türkiye" is found by "turkiye", "Чёрный" by "черныи". */
const fold = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const wordsOf = (text) => fold(text).match(/[\p{L}\p{N}]+/gu) ?? [];

function otherLayout(text) {
  return [...text.toLowerCase()]
    .map((key) => {
      const latin = LATIN_KEYS.indexOf(key);
      if (latin >= 0) return RUSSIAN_KEYS[latin];
      const russian = RUSSIAN_KEYS.indexOf(key);
      return russian >= 0 ? LATIN_KEYS[russian] : key;
    })
    .join("");
}

/** Which letters a word has, as bits: most words are told apart from a typed one by them alone. */
function lettersOf(word) {
  let bits = 0;
  for (let i = 0; i < word.length; i += 1) bits |= 1 << (word.charCodeAt(i) & 31);
  return bits;
}

/** Whether more of the letters are missing than may be wrong. */
function lacks(typedLetters, letters, most) {
  let missing = typedLetters & ~letters;
  for (let count = 0; missing; count += 1) {
    if (count === most) return true;
    missing &= missing - 1;
  }
  return false;
}

/** areas: [{ code, name, kind, countries, search, … }] as the API has them. compare: of names in their language. */
export function indexOf(areas, compare) {
  // Sorted once, so that hits of the same rank need no comparison of names at each letter.
  return [...areas].sort((a, b) => compare(a.name, b.name)).map((area) => {
    const names = wordsOf(area.name);
    const words = [...new Set([...names, fold(area.code), ...wordsOf(area.search ?? "")])];
    return { area, code: fold(area.code), name: names.join(" "), names, words, letters: words.map(lettersOf) };
  });
}

/** Smaller is better: code or beginning of the name, words of the name, inside it, other words; null for no match. */
function plainRank(entry, words) {
  const query = words.join(" ");
  const beginsOneOf = (known) => (word) => known.some((other) => other.startsWith(word));
  if (entry.code === query || entry.name.startsWith(query)) return 0;
  if (words.every(beginsOneOf(entry.names))) return 1;
  if (query.length >= SHORTEST_INSIDE && entry.name.includes(query)) return 2;
  return words.every(beginsOneOf(entry.words)) ? 3 : null;
}

/** How many typing errors are forgiven in a word. */
const forgiven = (word) => (word.length < 4 ? 0 : word.length < 8 ? 1 : 2);

const LONGEST = 64;
let [before, above, row] = [0, 1, 2].map(() => new Uint8Array(LONGEST + 1)); // used again and again

/**
 * Least number of letters left out, put in, exchanged or swapped with their neighbour that make `typed` of `word` or of
 * its beginning (Damerau and Levenshtein); above `most` it does not matter by how much.
 */
function distance(typed, word, most) {
  const width = Math.min(word.length, LONGEST);
  for (let j = 0; j <= width; j += 1) above[j] = j;
  for (let i = 1; i <= typed.length; i += 1) {
    let least = (row[0] = i);
    for (let j = 1; j <= width; j += 1) {
      const isSame = typed[i - 1] === word[j - 1];
      let cost = Math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (isSame ? 0 : 1));
      const isSwapped = i > 1 && j > 1 && typed[i - 1] === word[j - 2] && typed[i - 2] === word[j - 1];
      if (isSwapped) cost = Math.min(cost, before[j - 2] + 1);
      row[j] = cost;
      if (cost < least) least = cost;
    }
    if (least > most) return most + 1;
    [before, above, row] = [above, row, before];
  }
  let beginning = above[0];
  for (let j = 1; j <= width; j += 1) beginning = Math.min(beginning, above[j]);
  return Math.min(above[width], beginning + UNFINISHED);
}

function forgivingRank({ words: known, letters }, words) {
  let sum = 0;
  for (const typed of words) {
    const most = forgiven(typed);
    const typedLetters = lettersOf(typed);
    let best = most + 1;
    for (let i = 0; i < known.length && best > 0; i += 1) {
      if (known[i].length < typed.length - most || lacks(typedLetters, letters[i], most)) continue;
      best = Math.min(best, distance(typed, known[i], most));
    }
    if (best > most + UNFINISHED) return null;
    sum += best;
  }
  return sum;
}

function rankAll(index, words, rank) {
  if (!words.length) return [];
  return index.map((entry) => ({ entry, rank: rank(entry, words) })).filter((hit) => hit.rank !== null);
}

/** The likeliest reading of what was typed that finds anything: as it is, in the other layout, with errors. */
function read(index, text) {
  const readings = [wordsOf(text), wordsOf(otherLayout(text))];
  for (const words of readings) {
    const hits = rankAll(index, words, plainRank);
    if (hits.length) return { hits, words };
  }
  for (const words of readings) {
    const hits = rankAll(index, words, forgivingRank);
    const least = Math.min(...hits.map((hit) => hit.rank));
    if (hits.length) return { hits: hits.filter((hit) => hit.rank === least), words: [] };
  }
  return { hits: [], words: [] };
}

/**
 * → [{ area, words, inside? }], best first. words: what to mark in its name; inside: a country found by name, where
 * the area is a region that contains it.
 */
export function match(index, text) {
  const { hits, words } = read(index, text);
  hits.sort((a, b) => a.rank - b.rank);
  const areas = hits.map((hit) => hit.entry.area);
  const found = new Set(areas);
  const countries = areas.filter((area) => area.kind === "country").slice(0, COUNTRIES_TRACED);
  const around = index
    .filter(({ area }) => area.kind !== "country" && !found.has(area))
    .map(({ area }) => ({ area, words: [], inside: countries.find((country) => area.countries.includes(country.code)) }))
    .filter(({ inside }) => inside);
  return [...areas.map((area) => ({ area, words })), ...around];
}

/** A name in parts: [[text, isMarked], …]. The beginnings of its words that were typed are marked. */
export function marked(name, words) {
  const parts = [];
  let end = 0;
  for (const found of name.matchAll(/[\p{L}\p{N}\p{M}]+/gu)) {
    const folded = fold(found[0]);
    const typed = words.find((word) => folded.startsWith(word)) ?? words.find((word) => folded.includes(word));
    if (!typed || folded.length !== found[0].length) continue;
    const start = found.index + folded.indexOf(typed);
    parts.push([name.slice(end, start), false], [name.slice(start, start + typed.length), true]);
    end = start + typed.length;
  }
  return [...parts, [name.slice(end), false]].filter(([text]) => text);
}
