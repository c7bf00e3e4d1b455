/** `?clone=RUN`: the form takes over that run's settings. */

import { useEffect, useEffectEvent } from "react";
import { useNavigate, useSearchParams } from "react-router";

import { asApiError, useLazyGetRunQuery } from "@/api";
import type { SettingView } from "@/api";
import { sentence } from "@/lib/format";
import { cloneLink, setupPath } from "@/lib/methods";
import { useToast } from "@/state/hooks";

import { forMethod, fromConfig } from "./draft";
import type { Draft } from "./draft";
import type { Page } from "./form";

/** A run of a method that the other page sets up is opened there. */
export function useClone(
  page: Page,
  settings: readonly SettingView[] | undefined,
  replace: (draft: Draft) => void,
): void {
  const [params, setParams] = useSearchParams();
  const [getRun] = useLazyGetRunQuery();
  const navigate = useNavigate();
  const toast = useToast();
  const run = settings ? params.get("clone") : null;

  const take = useEffectEvent(async (id: string, known: readonly SettingView[]) => {
    try {
      const { config, summary } = await getRun({ run: id }).unwrap();
      if (setupPath(summary.method) !== page) {
        await navigate(cloneLink({ id, method: summary.method }), { replace: true });
        return;
      }
      // Its adapter's name is taken, and what it continued is its own past.
      const { draft } = fromConfig({ ...config, adapter_name: null, resume: null }, forMethod(known, summary.method));
      replace(draft);
      toast({ tone: "info", title: `Settings of ${id} loaded`, text: "Change what you like, then start." });
    } catch (error) {
      const { message, hint } = asApiError(error);
      toast({ tone: "bad", title: sentence(message), text: hint });
    }
    setParams({}, { replace: true });
  });

  useEffect(() => {
    if (run !== null && settings) void take(run, settings);
  }, [run, settings]);
}
