/** The kit: everything pages are made of. Charts on canvas are apart (`@/components/chart`), to be loaded with their page. */

export * from "./Button";
export * from "./Card";
export * from "./Dialog";
export * from "./Table";
export * from "./choice";
export * from "./display";
export * from "./inputs";
export * from "./states";
