-- Health of a CanaryPolicy for Argo CD. In the ConfigMap `argocd-cm`, under the key
-- `resource.customizations.health.serin.dev_CanaryPolicy`.
--
-- Degraded: a person is needed, or the release was bad. Suspended: nothing moves forward, and the message says why.
local health = {status = "Progressing", message = "Waiting for Serin"}
local metadata, spec, status = obj.metadata or {}, obj.spec or {}, obj.status or {}
if metadata.deletionTimestamp ~= nil then
  health.message = "Being deleted"
  return health
end
if status.phase == nil or (metadata.generation ~= nil and (status.observedGeneration or -1) < metadata.generation) then
  return health
end
health.message = status.phase
if status.message ~= nil and status.message ~= "" then
  health.message = status.message
end
local held = nil
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Held" and condition.status == "True" then
    held = "Held (" .. (condition.reason or "?") .. "): " .. (condition.message or "")
  end
end
if status.phase == "Invalid" or status.phase == "RolledBack" then
  health.status = "Degraded"
elseif status.phase == "RollingBack" then
  if held ~= nil then -- users are served by a bad release, and it cannot be taken away
    health.status = "Degraded"
    health.message = held
  end
elseif held ~= nil then
  health.status = "Suspended"
  health.message = held
elseif spec.suspend == true then
  health.status = "Suspended"
elseif status.phase == "Idle" or status.phase == "Promoted" then
  health.status = "Healthy"
end
return health
