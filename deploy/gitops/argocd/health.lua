-- Health of a CanaryPolicy for Argo CD. In the ConfigMap `argocd-cm`, under the key
-- `resource.customizations.health.serin.dev_CanaryPolicy`.
local health = {status = "Progressing", message = "Waiting for Serin"}
local status = obj.status
if status == nil or status.phase == nil then
  return health
end
if obj.metadata.generation ~= nil and (status.observedGeneration or 0) < obj.metadata.generation then
  return health
end
health.message = status.message or status.phase
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Held" and condition.status == "True" and obj.spec.suspend ~= true then
    health.status = "Suspended"
    health.message = "Held (" .. (condition.reason or "?") .. "): " .. (condition.message or "")
    return health
  end
end
if obj.spec.suspend == true then
  health.status = "Suspended"
elseif status.phase == "Invalid" or status.phase == "RolledBack" then
  health.status = "Degraded"
elseif status.phase == "Idle" or status.phase == "Promoted" then
  health.status = "Healthy"
end
return health
