import { expect, it } from "vitest";

import { exported, exportJob } from "@/test/exports";

import { newestPush, pushRequestOf, repositoryFault, repositoryOf } from "./push";

it("takes names of repositories as the hub does, and says nothing of an empty field", () => {
  for (const name of ["", " ", "acme/poet", " acme/poet-7b.v2 ", "a/b"]) expect(repositoryFault(name)).toBeNull();
  for (const name of ["poet", "acme/", "acme/po et", "https://x.y/acme/poet", "a/b/c", "a/..b", "-a/b"]) {
    expect(repositoryFault(name)).toBe("Write it as owner/name.");
  }
});

it("sends nothing before there is a repository", () => {
  const draft = { repository: "", isPrivate: true, overwrite: false };
  expect(pushRequestOf(draft)).toBeNull();
  expect(pushRequestOf({ ...draft, repository: "acme" })).toBeNull();
  expect(pushRequestOf({ ...draft, repository: " acme/poet " })).toEqual({
    repo_id: "acme/poet",
    private: true,
    overwrite: false,
  });
});

it("finds the newest push of an export and no other's", () => {
  const jobs = [
    exportJob({ id: "a", kind: "push", title: "poet-gguf-2 to acme/poet" }),
    exportJob({ id: "b", kind: "export", title: "poet-gguf to acme/poet" }),
    exportJob({ id: "c", kind: "push", title: "poet-gguf to acme/newer" }),
    exportJob({ id: "d", kind: "push", title: "poet-gguf to acme/older" }),
  ];
  const found = newestPush(jobs, exported("poet-gguf"));
  expect(found?.id).toBe("c");
  expect(found && repositoryOf(found)).toBe("acme/newer");
  expect(newestPush(jobs, exported("poet"))).toBeUndefined();
});
