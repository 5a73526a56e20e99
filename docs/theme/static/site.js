// A button that copies a block of code. A session is read, not copied: its prompts and answers cannot be pasted back.
"use strict";
for (const block of document.querySelectorAll("div.highlight")) {
  if (!navigator.clipboard || block.closest(".highlight-console, .highlight-text, .highlight-pycon")) continue;
  const button = document.createElement("button");
  const isRussian = document.documentElement.lang === "ru";
  button.className = "copy";
  button.type = "button";
  button.textContent = isRussian ? "Копировать" : "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.querySelector("pre").textContent);
    button.textContent = isRussian ? "Скопировано" : "Copied";
  });
  block.append(button);
}

// From a folder a page may not read others, so that a result of the search has no excerpt of them.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// What is wider than the screen is scrolled with the keyboard, too.
for (const part of document.querySelectorAll("pre, .table-wrapper, article p")) {
  if (part.scrollWidth > part.clientWidth && getComputedStyle(part).overflowX !== "visible") part.tabIndex = 0;
}
