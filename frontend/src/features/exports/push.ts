/** A push as the form holds it, and which push of an export is the newest. */

import type { ExportEntry, Job, PushRequest } from "@/api";

/** What names a repository: as the server takes it. */
const REPOSITORY = /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/;
const BETWEEN = " to ";

export interface PushDraft {
  repository: string;
  isPrivate: boolean;
  overwrite: boolean;
}

/** What is wrong with the name of a repository; null when it may be asked for, or nothing was typed yet. */
export function repositoryFault(text: string): string | null {
  const name = text.trim();
  return name === "" || (REPOSITORY.test(name) && !name.includes("..")) ? null : "Write it as owner/name.";
}

/** What is sent; null while there is nothing to send. */
export function pushRequestOf({ repository, isPrivate, overwrite }: PushDraft): PushRequest | null {
  const name = repository.trim();
  if (name === "" || repositoryFault(name) !== null) return null;
  return { repo_id: name, private: isPrivate, overwrite };
}

/** The newest push of an export; neither its name nor that of a repository has a blank. */
export function newestPush(jobs: readonly Job[], { name }: Pick<ExportEntry, "name">): Job | undefined {
  return jobs.find((job) => job.kind === "push" && job.title.startsWith(name + BETWEEN));
}

/** Where a push goes. */
export function repositoryOf({ title }: Pick<Job, "title">): string {
  return title.slice(title.indexOf(BETWEEN) + BETWEEN.length);
}
