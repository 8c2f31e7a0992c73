/**
 * Phones and tablets that take an eSIM, and well-known ones that do not. Kept by hand; *#06# on the phone decides.
 *
 * name:   of the maker's line; also: how people write it besides.
 * since:  the oldest models of a line whose newer ones all have it, for the overview.
 * models: those that have it; verdict: "yes", "region" (depends on the country it was made for) or
 *         "china" (yes, but for those made for mainland China).
 * older:  the last ones that have none.
 */
export const families = [
  {
    name: "iPhone",
    also: "apple айфон эпл",
    since: "XR, XS",
    verdict: "china",
    models: [
      ...["XR", "XS", "XS Max", "11", "11 Pro", "11 Pro Max", "SE (2020)", "SE (2022)", "12", "12 mini", "12 Pro"],
      ...["12 Pro Max", "13", "13 mini", "13 Pro", "13 Pro Max", "14", "14 Plus", "14 Pro", "14 Pro Max", "15", "15 Plus"],
      ...["15 Pro", "15 Pro Max", "16", "16 Plus", "16 Pro", "16 Pro Max", "16e", "17", "17 Pro", "17 Pro Max", "Air"],
    ],
    older: ["X", "8", "8 Plus", "7", "7 Plus", "6s", "6s Plus", "SE (2016)"],
  },
  {
    name: "iPad (Cellular)",
    also: "apple айпад",
    verdict: "china",
    models: ["Pro 11", "Pro 12.9 (2018)", "Pro 13", "Air (2019)", "Air 11", "Air 13", "mini (2019)", "mini (2021)", "(2019)"],
    older: [],
  },
  {
    name: "Google Pixel",
    also: "пиксель гугл",
    since: "4, 4a",
    verdict: "yes",
    models: [
      ...["4", "4 XL", "4a", "5", "5a", "6", "6 Pro", "6a", "7", "7 Pro", "7a", "8", "8 Pro", "8a", "9", "9 Pro"],
      ...["9 Pro XL", "9 Pro Fold", "9a", "10", "10 Pro", "10 Pro XL", "10 Pro Fold", "Fold"],
    ],
    older: [],
  },
  { name: "Google Pixel", also: "пиксель гугл", verdict: "region", models: ["3", "3 XL", "3a", "3a XL"], older: ["2", "2 XL"] },
  {
    name: "Samsung Galaxy",
    also: "самсунг галакси",
    since: "S20, Note20, Z Fold, Z Flip",
    verdict: "region",
    models: [
      ...["S20", "S20+", "S20 Ultra", "S21", "S21+", "S21 Ultra", "S22", "S22+", "S22 Ultra", "S23", "S23+", "S23 Ultra"],
      ...["S23 FE", "S24", "S24+", "S24 Ultra", "S24 FE", "S25", "S25+", "S25 Ultra", "S25 Edge", "S25 FE", "Note20"],
      ...["Note20 Ultra", "Fold", "Z Fold2", "Z Fold3", "Z Fold4", "Z Fold5", "Z Fold6", "Z Fold7", "Z Flip", "Z Flip3"],
      ...["Z Flip4", "Z Flip5", "Z Flip6", "Z Flip7"],
    ],
    older: ["S10", "S10+", "S10e", "S9", "S8", "Note10", "Note10+"],
  },
  {
    name: "Samsung Galaxy",
    also: "самсунг галакси",
    verdict: "region",
    models: ["A35", "A36", "A54", "A55", "A56"],
    older: ["A12", "A13", "A14", "A32", "A51"],
  },
  {
    name: "Xiaomi",
    also: "сяоми ксиоми ксяоми",
    verdict: "china",
    models: [
      ...["12T Pro", "13", "13 Pro", "13 Lite", "13T", "13T Pro", "14", "14 Pro", "14 Ultra", "14T", "14T Pro", "15", "15 Ultra"],
      ...["15T", "15T Pro"],
    ],
    older: ["11", "11T", "12", "12T"],
  },
  {
    name: "Redmi",
    also: "xiaomi сяоми редми",
    verdict: "region",
    models: ["Note 13 Pro+", "Note 14 Pro 5G", "Note 14 Pro+"],
    older: ["Note 10", "Note 11", "Note 12", "Note 13"],
  },
  {
    name: "Honor",
    also: "хонор",
    verdict: "china",
    models: ["Magic4 Pro", "Magic5 Pro", "Magic6 Pro", "Magic7 Pro", "Magic V2", "Magic V3", "90", "200", "200 Pro", "400 Pro"],
    older: [],
  },
  {
    name: "Huawei",
    also: "хуавей",
    verdict: "china",
    models: ["P40", "P40 Pro", "Mate 40 Pro"],
    older: ["P30", "P30 Pro", "P40 Pro+", "P50 Pro"],
  },
  {
    name: "OPPO",
    also: "оппо",
    verdict: "china",
    models: ["Find X3 Pro", "Find X5", "Find X5 Pro", "Find X8", "Find X8 Pro", "Find N2 Flip", "Find N3", "Reno6 Pro 5G"],
    older: [],
  },
  { name: "OnePlus", also: "ванплас", verdict: "china", models: ["11", "12", "13", "Open"], older: ["9", "10 Pro"] },
  {
    name: "Motorola",
    also: "моторола",
    verdict: "region",
    models: [
      ...["Razr (2019)", "Razr 5G", "Razr 40", "Razr 40 Ultra", "Razr 50", "Razr 50 Ultra", "Edge 40", "Edge 40 Pro"],
      ...["Edge 50", "Edge 50 Pro", "Edge 50 Ultra"],
    ],
    older: [],
  },
  {
    name: "Sony Xperia",
    also: "сони",
    verdict: "region",
    models: ["1 IV", "5 IV", "10 IV", "1 V", "5 V", "10 V", "1 VI", "10 VI"],
    older: ["1 III", "5 III"],
  },
  { name: "Fairphone", also: "", verdict: "yes", models: ["4", "5"], older: ["3"] },
  { name: "Nokia", also: "нокиа", verdict: "yes", models: ["G60", "X30", "XR21"], older: [] },
];

const fold = (text) => text.toLowerCase().replace(/[()]/g, "");
const close = (text) => fold(text).replace(/\s/g, "");

const index = families.flatMap(({ name, also, verdict, models, older }) => {
  const entry = (model, answer) => {
    const full = `${name} ${model}`;
    return { name: full, verdict: answer, words: ` ${fold(`${full} ${also}`)}`, written: close(full) };
  };
  return [...models.map((model) => entry(model, verdict)), ...older.map((model) => entry(model, "no"))];
});

/** The models with words that begin like all of the query's, or written as it is: [{ name, verdict }], shorter first. */
export function findModels(query) {
  const words = fold(query).split(/\s+/).filter(Boolean);
  return index
    .filter((entry) => words.every((word) => entry.words.includes(` ${word}`)) || entry.written.includes(close(query)))
    .sort((a, b) => a.name.length - b.name.length);
}
