/** Text from programs and data made safe to look at: no terminal colours, nothing invisible. */

// Colours and cursor moves (CSI), titles and links (OSC), and the two-character escapes.
const ESCAPES =
  /\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|\u001b[ -/]*[0-~]/g;
// Control characters but tab and newline, and those that turn the direction of writing or have no width.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** `text` without terminal escapes, and with every other hidden character written as its code. */
export function visible(text: string): string {
  return text.replace(ESCAPES, "").replace(HIDDEN, (found) => {
    const code = found.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** Lines of a log as a terminal would leave them: of what was overwritten by a carriage return the last state stays. */
export function logLines(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((line) => {
    const states = line.split("\r").filter((state) => state !== "");
    return visible(states.at(-1) ?? "").replaceAll("\t", "    ");
  });
}
