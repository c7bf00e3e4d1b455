/** `?from=EXPERIMENT`: the form takes over that experiment's plan. */

import { useEffect, useEffectEvent } from "react";
import { useSearchParams } from "react-router";

import { asApiError, useLazyGetExperimentQuery } from "@/api";
import type { SettingView } from "@/api";
import { fromConfig } from "@/features/form/draft";
import type { Draft } from "@/features/form/draft";
import { sentence } from "@/lib/format";
import { useToast } from "@/state/hooks";

import { draftFrom, draftStore } from "./draft";

export function useAgain(settings: readonly SettingView[], replace: (shared: Draft) => void): void {
  const [params, setParams] = useSearchParams();
  const [get] = useLazyGetExperimentQuery();
  const toast = useToast();
  const experiment = params.get("from");

  const take = useEffectEvent(async (id: string) => {
    try {
      const { request } = await get({ experiment: id }).unwrap();
      replace(fromConfig(request.settings, settings).draft);
      draftStore.set(draftFrom(request));
      toast({ tone: "info", title: `The plan of ${id} loaded`, text: "Change what you like, then plan again." });
    } catch (error) {
      const { message, hint } = asApiError(error);
      toast({ tone: "bad", title: sentence(message), text: hint });
    }
    setParams({}, { replace: true });
  });

  useEffect(() => {
    if (experiment !== null) void take(experiment);
  }, [experiment]);
}
