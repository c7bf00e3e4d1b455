/** Where the application lies on its host: the server puts it into the page's <base>. */

/** The path before every address of the application, without a slash at its end; mostly empty. */
export const ROOT = (document.querySelector("base")?.getAttribute("href") ?? "/").replace(/\/+$/, "");

/** The address of a path of the server, such as `/api/health`. */
export function addressOf(path: string): string {
  return `${ROOT}${path}`;
}
