// A case's page: ready-made answers go into the box, Ctrl+Enter sends, and the newest line is in view.

const answer = document.getElementById("answer");

for (const button of document.querySelectorAll("[data-text]")) {
  button.addEventListener("click", () => {
    const typed = answer.value.trimEnd();
    answer.value = typed ? `${typed}\n\n${button.dataset.text}` : button.dataset.text;
    answer.focus();
  });
}

answer?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) answer.form.requestSubmit();
});

for (const form of document.querySelectorAll(".case-page form")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}

// What is written meanwhile appears by itself; what is being typed stays.

const LOOK_AGAIN_MS = 5000;
const page = document.querySelector(".case-page");

function toNewest() {
  const lines = page.querySelector(".case-lines");
  lines.scrollTop = lines.scrollHeight;
}

async function lookAgain() {
  const response = await fetch(page.dataset.address).catch(() => null);
  if (!response?.ok || response.redirected) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const [was, is] = [page, fresh].map((root) => root.querySelector(".case-lines"));
  if (!is || is.innerHTML === was.innerHTML) return;
  const [seen, newest] = [page, fresh].map((root) => root.querySelector("[name=seen]"));
  const isAnswered = seen && newest && seen.value !== newest.value;
  was.replaceWith(is);
  page.querySelector(".case-state").replaceWith(fresh.querySelector(".case-state"));
  toNewest();
  if (!isAnswered) return;
  seen.value = newest.value;
  page.querySelector(".case-news").hidden = false;
}

setInterval(() => !document.hidden && lookAgain(), LOOK_AGAIN_MS);
toNewest();
