/** The frame of every page. */

import {
  Activity,
  ChartLine,
  Columns2,
  Cpu,
  FlaskConical,
  Monitor,
  Moon,
  SlidersHorizontal,
  Sun,
  Trophy,
} from "lucide-react";
import type { LucideIcon } from "lucide-react";
import { Suspense, useEffect, useState } from "react";
import { NavLink, Outlet, useLocation } from "react-router";

import { useGetSystemQuery } from "@/api";
import type { SystemReport } from "@/api";
import { Badge, Dialog, ErrorNote, Loading, Note, Segmented, Stat, Stats } from "@/components/ui";
import { cx } from "@/lib/cx";
import { bytes, integer } from "@/lib/format";
import { addressOf } from "@/lib/root";
import { useThemeChoice } from "@/lib/theme";
import { useActiveRuns, useConnection, useQueue } from "@/state/hooks";
import type { Connection } from "@/state/live";

import { ErrorBoundary } from "./ErrorBoundary";

const PAGES = [
  { to: "/setup", label: "Setup", icon: SlidersHorizontal },
  { to: "/enhanced", label: "Enhanced Setup", short: "Enhanced", icon: Trophy },
  { to: "/training", label: "Training", icon: Activity },
  { to: "/results", label: "Results", icon: ChartLine },
  { to: "/experiments", label: "Experiments", icon: FlaskConical },
  { to: "/compare", label: "Compare", icon: Columns2 },
] as const satisfies readonly { to: string; label: string; short?: string; icon: LucideIcon }[];

/** How many runs train or wait. */
function QueueBadge() {
  const busy = useActiveRuns().length + (useQueue()?.waiting.length ?? 0);
  if (busy === 0) return null;
  return (
    <span className="min-w-4.5 rounded-full bg-accent px-1 text-center text-[0.6875rem]/4.5 font-semibold text-on-accent">
      {busy}
      <span className="sr-only"> running or waiting</span>
    </span>
  );
}

function Navigation({ bottom }: { bottom?: boolean }) {
  return (
    <nav
      aria-label={bottom ? "Pages" : "Main"}
      className={
        bottom
          ? "fixed inset-x-0 bottom-0 z-40 flex border-t border-line bg-surface pb-[env(safe-area-inset-bottom)] lg:hidden"
          : "hidden gap-1 lg:flex"
      }
    >
      {PAGES.map(({ to, label, icon: Icon, ...rest }) => (
        <NavLink
          key={to}
          aria-label={"short" in rest && bottom ? label : undefined}
          to={to}
          className={({ isActive }) =>
            cx(
              "relative flex items-center font-medium",
              bottom
                ? "flex-1 flex-col gap-0.5 py-2 text-xs -outline-offset-2"
                : "h-9 gap-2 rounded-md px-3 text-[0.8125rem]",
              isActive ? (bottom ? "text-accent" : "bg-accent-soft text-accent-strong") : "text-muted hover:text-ink",
            )
          }
        >
          <Icon className={bottom ? "size-5" : "size-4"} aria-hidden />
          {"short" in rest && bottom ? rest.short : label}
          {to === "/training" && (
            <span className={bottom ? "absolute top-1 left-[calc(50%+8px)]" : ""}>
              <QueueBadge />
            </span>
          )}
        </NavLink>
      ))}
    </nav>
  );
}

function Offline() {
  if (useConnection() !== "lost") return null;
  return (
    <div className="mx-auto max-w-7xl px-4 pt-4 sm:px-6">
      <Note tone="warn" live title="No connection to the server.">
        What you see may be out of date. Training goes on without this page; it reconnects by itself. If it does not,
        start <code className="font-mono">droidft serve</code> again.
      </Note>
    </div>
  );
}

/** The frame of every page. */
export function Shell() {
  const { pathname } = useLocation();
  const page = `/${pathname.split("/")[1] ?? ""}`;
  useEffect(() => {
    document.title = `${PAGES.find(({ to }) => to === page)?.label ?? "Not found"} · Droid FineTuning`;
    window.scrollTo(0, 0);
  }, [page]);
  return (
    <>
      <a
        href={addressOf(`${pathname}#main`)}
        className="sr-only z-50 rounded-md bg-accent px-3 py-2 text-on-accent focus:not-sr-only focus:fixed focus:top-2 focus:left-2"
      >
        Skip to the content
      </a>
      <header className="sticky top-0 z-30 border-b border-line bg-surface">
        <div className="mx-auto flex h-13 max-w-7xl items-center gap-3 px-4 sm:px-6">
          <NavLink
            to="/setup"
            className="mr-2 flex shrink-0 items-center gap-2 font-semibold whitespace-nowrap"
            aria-label="Droid FineTuning, home"
          >
            <img src={addressOf("/favicon.svg")} alt="" className="size-6" />
            <span className="max-[380px]:hidden">Droid FineTuning</span>
          </NavLink>
          <Navigation />
          <div className="ml-auto flex min-w-0 items-center gap-2">
            <SystemStatus />
            <ThemeSwitch />
          </div>
        </div>
      </header>
      <Offline />
      <main id="main" tabIndex={-1} className="mx-auto max-w-7xl px-4 pt-5 pb-24 outline-none sm:px-6 lg:pb-10">
        <ErrorBoundary place={pathname}>
          <Suspense fallback={<Loading className="py-16" />}>
            <Outlet />
          </Suspense>
        </ErrorBoundary>
      </main>
      <Navigation bottom />
    </>
  );
}

const STATES: Record<Connection, [string, string]> = {
  connecting: ["bg-warn", "Connecting"],
  live: ["bg-good", "Connected"],
  lost: ["bg-bad", "No connection"],
};

/** What the device is called, of whatever the report says about it. */
function deviceName({ device }: SystemReport): string {
  const name = device["name"] ?? device["kind"] ?? device["device"];
  return typeof name === "string" ? name : "device";
}

function Details({ system }: { system: SystemReport }) {
  return (
    <div className="space-y-4">
      <Stats>
        <Stat label="Memory free" value={bytes(system.memory_available)} note={`of ${bytes(system.memory_total)}`} />
        <Stat label="Disk free" value={bytes(system.disk_free)} />
        <Stat label="Matrix product" value={`${integer(system.gflops)} GFLOP/s`} note="measured, float32" />
        <Stat label="Version" value={system.versions["droidft"] ?? "–"} />
      </Stats>
      <dl className="divide-y divide-line text-[0.8125rem]">
        {system.findings.map((finding) => (
          <div key={finding.name} className="grid gap-x-4 py-1.5 sm:grid-cols-[10rem_1fr]">
            <dt className="text-muted">{finding.name}</dt>
            <dd className="wrap-anywhere">
              {finding.value}
              {finding.fix !== "" && <p className="text-warn">{finding.fix}</p>}
            </dd>
          </div>
        ))}
        <div className="grid gap-x-4 py-1.5 sm:grid-cols-[10rem_1fr]">
          <dt className="text-muted">files may come from</dt>
          <dd className="font-mono text-xs wrap-anywhere">{system.roots.join(", ") || "the home folder only"}</dd>
        </div>
      </dl>
    </div>
  );
}

/** Connection, device and memory at a glance; everything `droidft doctor` says on a press. */
function SystemStatus() {
  const connection = useConnection();
  const [open, setOpen] = useState(false);
  const { data, error, refetch } = useGetSystemQuery(undefined, {
    pollingInterval: 30_000,
    skipPollingIfUnfocused: true,
  });
  const [dot, word] = STATES[connection];
  const troubled = data && !data.ok;
  return (
    <>
      <button
        type="button"
        onClick={() => setOpen(true)}
        className="inline-flex h-9 min-w-0 items-center gap-2 rounded-md px-2 text-xs text-muted hover:bg-sunken hover:text-ink"
      >
        <span aria-hidden className={cx("size-2 shrink-0 rounded-full", dot)} />
        <span className="sr-only">System status: </span>
        <span className={connection === "live" ? "sr-only" : "whitespace-nowrap max-sm:sr-only"}>{word}</span>
        {data && connection === "live" && (
          <>
            <Cpu className="hidden size-3.5 shrink-0 lg:block" aria-hidden />
            <span className="hidden max-w-40 truncate lg:inline">{deviceName(data)}</span>
            <span className="hidden whitespace-nowrap sm:inline">{bytes(data.memory_available)} free</span>
          </>
        )}
      </button>
      <Dialog
        open={open}
        onClose={() => setOpen(false)}
        wide
        title={<>System {troubled && <Badge tone="warn">needs attention</Badge>}</>}
      >
        {data ? (
          <Details system={data} />
        ) : error ? (
          <ErrorNote error={error} onRetry={() => void refetch()} />
        ) : (
          <Loading />
        )}
      </Dialog>
    </>
  );
}

const OPTIONS = [
  { value: "light", label: "Light", icon: Sun },
  { value: "system", label: "As the system", icon: Monitor },
  { value: "dark", label: "Dark", icon: Moon },
] as const;

/** Light, dark, or as the system has it. */
function ThemeSwitch() {
  const [choice, setChoice] = useThemeChoice();
  return <Segmented label="Colour theme" size="sm" iconsOnly value={choice} options={OPTIONS} onValue={setChoice} />;
}
