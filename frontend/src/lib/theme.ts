/** Light, dark or as the system has it; kept in this browser. `public/theme.js` applies it before the first paint. */

import { useSyncExternalStore } from "react";

export type ThemeChoice = "light" | "dark" | "system";
export type Theme = "light" | "dark";

const KEY = "droidft.theme";
const CHANGED = "droidft:theme";
const dark = () => window.matchMedia("(prefers-color-scheme: dark)");

function stored(): ThemeChoice {
  const value = localStorage.getItem(KEY);
  return value === "light" || value === "dark" ? value : "system";
}

function apply(): void {
  const choice = stored();
  const isDark = choice === "dark" || (choice === "system" && dark().matches);
  document.documentElement.dataset["theme"] = isDark ? "dark" : "light";
  window.dispatchEvent(new Event(CHANGED));
}

function subscribe(listener: () => void): () => void {
  const query = dark();
  query.addEventListener("change", apply);
  window.addEventListener(CHANGED, listener);
  return () => {
    query.removeEventListener("change", apply);
    window.removeEventListener(CHANGED, listener);
  };
}

function setChoice(choice: ThemeChoice): void {
  localStorage.setItem(KEY, choice);
  apply();
}

/** What was chosen, and how to choose. */
export function useThemeChoice(): [ThemeChoice, (choice: ThemeChoice) => void] {
  return [useSyncExternalStore(subscribe, stored), setChoice];
}

/** What is shown: for drawings that cannot use CSS variables. */
export function useTheme(): Theme {
  return useSyncExternalStore(subscribe, () =>
    document.documentElement.dataset["theme"] === "dark" ? "dark" : "light",
  );
}
