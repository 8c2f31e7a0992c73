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

const lines = document.querySelector(".case-lines");
lines.scrollTop = lines.scrollHeight;
