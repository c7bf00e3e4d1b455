import { Activity, ChartLine, Columns2, FlaskConical, SlidersHorizontal, Trophy } from "lucide-react";
import type { LucideIcon } from "lucide-react";
import { Suspense, useEffect } from "react";
import { NavLink, Outlet, useLocation } from "react-router";

import { Loading, Note } from "@/components/ui";
import { cx } from "@/lib/cx";
import { useActiveRuns, useConnection, useQueue } from "@/state/hooks";

import { ErrorBoundary } from "./ErrorBoundary";
import { SystemStatus } from "./SystemStatus";
import { ThemeSwitch } from "./ThemeSwitch";

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
          ? "fixed inset-x-0 bottom-0 z-40 flex border-t border-line bg-surface pb-[env(safe-area-inset-bottom)] md:hidden"
          : "hidden gap-1 md:flex"
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
        href="#main"
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
            <img src="/favicon.svg" alt="" className="size-6" />
            <span className="max-[380px]:hidden md:max-lg:hidden">Droid FineTuning</span>
          </NavLink>
          <Navigation />
          <div className="ml-auto flex min-w-0 items-center gap-2">
            <SystemStatus />
            <ThemeSwitch />
          </div>
        </div>
      </header>
      <Offline />
      <main id="main" tabIndex={-1} className="mx-auto max-w-7xl px-4 pt-5 pb-24 outline-none sm:px-6 md:pb-10">
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
