// The versions beside this one: `versions.js` in the folder above lists them, and is written anew by each build.
"use strict";
(() => {
  const nav = document.querySelector(".sidebar-site .versions");
  const others = (window.siteVersions || []).filter((version) => version !== nav.dataset.version);
  for (const version of others) {
    const link = nav.appendChild(document.createElement("a"));
    link.href = `${nav.dataset.root}${version}/index.html`;
    link.textContent = version;
  }
  nav.hidden = others.length === 0;
})();
