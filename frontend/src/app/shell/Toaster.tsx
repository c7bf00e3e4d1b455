import { CircleAlert, CircleCheck, Info, TriangleAlert, X } from "lucide-react";
import type { LucideIcon } from "lucide-react";
import { useEffect } from "react";
import { Link } from "react-router";

import { IconButton, Prose } from "@/components/ui";
import { cx } from "@/lib/cx";
import { sentence } from "@/lib/format";
import type { Tone } from "@/lib/tone";
import { useAppDispatch, useAppSelector } from "@/state/hooks";
import { toastRemoved } from "@/state/toasts";
import type { Toast } from "@/state/toasts";

const SHOWN_MS = 8000;
const ICONS: Record<Tone, [LucideIcon, string]> = {
  neutral: [Info, "text-muted"],
  info: [Info, "text-info"],
  good: [CircleCheck, "text-good"],
  warn: [TriangleAlert, "text-warn"],
  bad: [CircleAlert, "text-bad"],
};

function ToastView({ toast }: { toast: Toast }) {
  const dispatch = useAppDispatch();
  const { id, tone, title, text, link } = toast;
  // What went wrong stays until it is read.
  const stays = tone === "bad";
  useEffect(() => {
    if (stays) return undefined;
    const timer = setTimeout(() => dispatch(toastRemoved(id)), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [dispatch, id, stays]);
  const [Icon, colour] = ICONS[tone];
  return (
    <li className="pointer-events-auto flex w-full max-w-sm items-start gap-2.5 rounded-lg border border-line bg-surface p-3 shadow-lg">
      <Icon className={cx("mt-0.5 size-4 shrink-0", colour)} aria-hidden />
      <div className="min-w-0 flex-1 text-[0.8125rem] wrap-anywhere">
        <p className="font-medium">
          <Prose text={title} />
        </p>
        {text !== undefined && (
          <p className="text-muted">
            <Prose text={sentence(text)} />
          </p>
        )}
        {link && (
          <Link
            to={link.to}
            className="font-medium text-accent underline-offset-2 hover:underline"
            onClick={() => dispatch(toastRemoved(id))}
          >
            {link.label}
          </Link>
        )}
      </div>
      <IconButton
        icon={X}
        label="Dismiss"
        size="sm"
        className="-mt-1 -mr-1"
        onClick={() => dispatch(toastRemoved(id))}
      />
    </li>
  );
}

/** Toasts, newest at the end; a polite live region that is always there, so that additions are read out. */
export function Toaster() {
  const toasts = useAppSelector((state) => state.toasts);
  return (
    <div
      role="status"
      aria-live="polite"
      className="pointer-events-none fixed inset-x-4 bottom-30 z-50 flex justify-end md:bottom-4"
    >
      <ul className="flex w-full max-w-sm flex-col gap-2">
        {toasts.map((toast) => (
          <ToastView key={toast.id} toast={toast} />
        ))}
      </ul>
    </div>
  );
}
