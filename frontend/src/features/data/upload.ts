/** A file on its way to the server, with progress: `fetch` cannot tell how much of a body is sent. */

import type { DataFile } from "@/api";
import { fromAnswer, OFFLINE } from "@/api/errors";
import { dataFile } from "@/api/generatedSchemas";
import { parsed } from "@/lib/stored";

/** A name that the server takes, as close to the file's own as can be. */
export function safeName(name: string): string {
  const dot = name.lastIndexOf(".");
  const stem = plain(dot > 0 ? name.slice(0, dot) : name) || "data";
  const ending = dot > 0 ? `.${plain(name.slice(dot + 1)).slice(0, 20)}` : ".jsonl";
  return stem.slice(0, LONGEST - ending.length) + ending;
}

const LONGEST = 100;

function plain(text: string): string {
  return text
    .normalize("NFKD")
    .replace(/[\u0300-\u036f]/g, "")
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+|-+$/g, "");
}

/** Send `file`; `onProgress` gets the share sent. Rejects with an `ApiError`, or with null when aborted. */
export function upload(file: File, onProgress: (share: number) => void, signal: AbortSignal): Promise<DataFile> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", `/api/data/files/${encodeURIComponent(safeName(file.name))}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => onProgress(event.lengthComputable ? event.loaded / event.total : 0);
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the one shape of errors
    const fail = (reason: unknown) => reject(reason);
    request.onload = () => {
      const body = parsed(request.responseText);
      const stored = dataFile.safeParse(body);
      if (request.status < 300 && stored.success) resolve(stored.data);
      else fail(fromAnswer(request.status, body));
    };
    request.onerror = () => fail({ ...OFFLINE, message: "The upload was cut off.", hint: "Try again." });
    request.onabort = () => fail(null);
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}
