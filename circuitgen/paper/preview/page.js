(() => {
  // Parts of pages that draw for themselves look for the class that Quarto gives the body.
  const preference = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (preference.matches ? "dark" : "light")) === "dark";
  const paint = () => document.body.classList.toggle("quarto-dark", isDark());
  try { document.documentElement.dataset.theme = localStorage.getItem("theme") || ""; } catch { /* a page without storage follows the system */ }
  paint();
  preference.addEventListener("change", paint);

  const wireTheme = (button) => {
    const tell = () => button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", () => {
      document.documentElement.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("theme", document.documentElement.dataset.theme); } catch { /* forgotten with the page */ }
      paint();
      tell();
    });
    preference.addEventListener("change", tell);
    button.hidden = false;
    tell();
  };

  const MOST = 20, AROUND = 60;
  const excerpt = (text, word) => {
    const place = text.toLowerCase().indexOf(word);
    const start = Math.max(0, place - AROUND), end = Math.max(place, 0) + word.length + AROUND;
    return (start ? "…" : "") + text.slice(start, end) + (end < text.length ? "…" : "");
  };
  const find = (words) =>
    window.searchIndex
      .map((entry) => ({ entry, title: entry.title.toLowerCase(), text: entry.text.toLowerCase() }))
      .filter(({ title, text }) => words.every((word) => title.includes(word) || text.includes(word)))
      .map((hit) => ({ ...hit, rank: words.filter((word) => hit.title.includes(word)).length }))
      .sort((a, b) => b.rank - a.rank)
      .map(({ entry }) => entry);

  const wireSearch = (form) => {
    const input = form.querySelector("input"), list = form.querySelector("ol"), told = form.querySelector("[role=status]");
    const show = () => {
      const words = input.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      const hits = words.length ? find(words) : [];
      told.textContent = !words.length ? "" : hits.length > MOST ? `${hits.length} sections; the first ${MOST}:` : `${hits.length} section${hits.length === 1 ? "" : "s"}`;
      list.replaceChildren(...hits.slice(0, MOST).map((hit) => {
        const item = document.createElement("li"), link = document.createElement("a"), text = document.createElement("span");
        link.href = hit.href;
        link.textContent = hit.title === hit.page ? hit.title : `${hit.page}: ${hit.title}`;
        text.textContent = excerpt(hit.text, words[0]);
        item.append(link, text);
        return item;
      }));
      form.classList.toggle("found", words.length > 0);
    };
    input.addEventListener("input", show);
    form.addEventListener("submit", (event) => { event.preventDefault(); list.querySelector("a")?.focus(); });
    form.addEventListener("keydown", (event) => { if (event.key === "Escape") { input.value = ""; show(); input.focus(); } });
    form.hidden = false;
  };

  document.addEventListener("DOMContentLoaded", () => {
    // On a phone the contents would fill the first screen.
    if (matchMedia("(max-width: 58rem)").matches) document.querySelector(".contents details").open = false;
    wireTheme(document.querySelector(".theme"));
    wireSearch(document.querySelector("form.search"));
  });
})();
