/**
 * Installing an eSIM in words and pictures, for each kind of phone.
 *
 * A step: { title, text: keys of its words, picture?: of screen-picture.js, codes?: fields of the eSIM to copy }.
 * What a phone's settings are called is in the words of its own system.
 */

const row = (name, end) => ({ name: `guide.ui.${name}`, end });
const hit = (name, end) => ({ name: `guide.ui.${name}`, end, isHit: true });
const screen = (title, ...rows) => ({ title: `guide.ui.${title}`, rows });
const question = (title, no, yes) => ({ title: `guide.ui.${title}`, buttons: [row(no), hit(yes)] });
const words = (name, system = name) => ({ title: `guide.${name}`, text: `guide.${system}.text` });

const scan = { isCamera: true };

const tap = { ...words("tap"), picture: { title: "order.ready.title", buttons: [hit("install")] } };
const wait = words("wait");
const restart = words("restart");

const iphoneSettled = [
  { ...words("label"), picture: screen("ios.label", row("ios.primary"), hit("ios.travel", "check")) },
  {
    ...words("own_sim"),
    picture: screen("ios.cellular", row("ios.calls", "ios.primary"), hit("ios.data", "ios.primary")),
  },
];

const iphoneArrival = [
  {
    ...words("switch_on", "switch_on.ios"),
    picture: screen("ios.travel", row("ios.line", "on"), hit("ios.roaming", "on")),
  },
  {
    ...words("use_data", "use_data.ios"),
    picture: screen("ios.cellular", row("ios.calls", "ios.primary"), hit("ios.data", "ios.travel")),
  },
  wait,
  restart,
];

/** Kind of phone → { look: of its screens, now: [steps], arrival: [steps] }. */
export const GUIDES = {
  iphone: {
    look: "ios",
    now: [
      tap,
      { ...words("confirm"), picture: question("ios.activate", "ios.not_now", "ios.continue") },
      ...iphoneSettled,
    ],
    arrival: iphoneArrival,
  },
  iphone_old: {
    look: "ios",
    now: [
      words("other_screen"),
      { ...words("add.ios"), picture: screen("ios.cellular", row("ios.data", "on"), hit("ios.add", "chev")) },
      { ...words("scan.ios"), picture: scan, codes: ["smdp_address", "matching_id"] },
      ...iphoneSettled,
    ],
    arrival: iphoneArrival,
  },
  samsung: {
    look: "samsung",
    now: [
      tap,
      { ...words("add.samsung"), picture: screen("samsung.sims", row("sim1", "on"), hit("samsung.add", "chev")) },
      { ...words("scan.android"), picture: scan, codes: ["activation_code"] },
      { ...words("confirm.android"), picture: question("samsung.adding", "cancel", "samsung.confirm") },
      { ...words("own_sim"), picture: screen("samsung.sims", row("samsung.calls", "sim1"), hit("samsung.data", "sim1")) },
    ],
    arrival: [
      {
        ...words("switch_on", "switch_on.samsung"),
        picture: screen("samsung.networks", hit("samsung.roaming", "on")),
      },
      {
        ...words("use_data", "use_data.samsung"),
        picture: screen("samsung.sims", row("esim", "on"), hit("samsung.data", "esim")),
      },
      wait,
      restart,
    ],
  },
  pixel: {
    look: "pixel",
    now: [
      tap,
      { ...words("add.pixel"), picture: screen("pixel.sims", row("sim1"), hit("pixel.add", "chev")) },
      { ...words("scan.android"), picture: scan, codes: ["activation_code"] },
      { ...words("confirm.android"), picture: question("pixel.adding", "cancel", "pixel.confirm") },
      { ...words("own_sim"), picture: screen("pixel.sims", row("pixel.calls", "sim1"), hit("pixel.data", "sim1")) },
    ],
    arrival: [
      {
        ...words("switch_on", "switch_on.pixel"),
        picture: screen("esim", row("pixel.use", "on"), hit("pixel.roaming", "on")),
      },
      { ...words("use_data", "use_data.pixel"), picture: screen("esim", hit("pixel.data", "on")) },
      wait,
      restart,
    ],
  },
};

/** The same on any phone, in short. */
export const ARRIVAL = ["switch_on", "use_data", "wait", "restart"].map((name) => words(name));
