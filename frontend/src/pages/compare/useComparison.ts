/** The comparison that is under way or was the last one: asks, gathers what comes, keeps it. */

import { useCallback, useEffect, useRef, useState } from "react";

import { api } from "@/api";
import { useAppDispatch } from "@/state/hooks";
import { signedOut } from "@/state/store";

import { apply, ask, begin, finish, shuffled } from "./comparison";
import type { Asked, Comparison } from "./comparison";
import { drawSeed } from "./form";
import type { Question } from "./form";
import { keep } from "./history";

/** Words come faster than a page need be drawn. */
const DRAW_EVERY_MS = 60;

interface Work {
  controller: AbortController;
  latest: Comparison;
  timer: ReturnType<typeof setTimeout> | null;
}

export interface Runner {
  /** The latest comparison of this visit, under way or ended. */
  current: Comparison | null;
  start: (question: Question, blind: boolean) => Comparison;
  stop: () => void;
  /** Put a changed comparison (voted on, revealed) in the place of the old one. */
  replace: (comparison: Comparison) => void;
}

function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function useComparison(onNotKept: () => void): Runner {
  const dispatch = useAppDispatch();
  const [current, setCurrent] = useState<Comparison | null>(null);
  const work = useRef<Work | null>(null);

  /** End it, and keep what has been said. */
  const leave = useCallback(() => {
    const left = work.current;
    if (left === null) return null;
    work.current = null;
    if (left.timer !== null) clearTimeout(left.timer);
    left.controller.abort();
    const stopped = finish(left.latest, { kind: "stopped" });
    keep(stopped);
    return stopped;
  }, []);

  const stop = useCallback(() => {
    const stopped = leave();
    if (stopped !== null) setCurrent(stopped);
    dispatch(api.util.invalidateTags(["inference"]));
  }, [dispatch, leave]);

  useEffect(() => {
    const onHide = () => void leave();
    window.addEventListener("pagehide", onHide);
    return () => {
      window.removeEventListener("pagehide", onHide);
      leave();
    };
  }, [leave]);

  const start = useCallback(
    (question: Question, blind: boolean) => {
      leave();
      const request: Asked = { ...question, seed: question.seed ?? drawSeed() };
      // The order of the request is the order on the page: nothing, not even who begins, tells the sides apart.
      if (blind) request.adapters = shuffled(request.adapters);
      const comparison = begin(request, { id: newId(), at: Date.now(), blind });
      const own: Work = { controller: new AbortController(), latest: comparison, timer: null };
      work.current = own;
      setCurrent(comparison);
      const draw = () => {
        own.timer = null;
        if (work.current === own) setCurrent(own.latest);
      };
      void ask(request, own.controller.signal, (event) => {
        own.latest = apply(own.latest, event);
        own.timer ??= setTimeout(draw, DRAW_EVERY_MS);
      }).then((outcome) => {
        if (work.current !== own) return;
        work.current = null;
        if (own.timer !== null) clearTimeout(own.timer);
        const ended = finish(own.latest, outcome);
        setCurrent(ended);
        if (!keep(ended)) onNotKept();
        if (outcome.kind === "failed" && outcome.error.status === 401) dispatch(signedOut());
        dispatch(api.util.invalidateTags(["inference"]));
      });
      return comparison;
    },
    [dispatch, leave, onNotKept],
  );

  const replace = useCallback(
    (comparison: Comparison) => {
      setCurrent(comparison);
      if (!keep(comparison)) onNotKept();
    },
    [onNotKept],
  );

  return { current, start, stop, replace };
}
